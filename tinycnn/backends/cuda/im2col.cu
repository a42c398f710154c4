// im2col: x (N, H, W, C) -> cols (N*OH*OW, KH*KW*C), one row per window, zeros where it hangs over the edge.
//
//     cols[n, oh, ow, kh, kw, c] = x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]
//
// Launch: one thread per element of cols. Neighbouring threads differ in c: both sides of the copy are coalesced.
#include "common.cuh"

extern "C" __global__ void im2col(const real* x, real* cols, Windows win, int count) {
    FOR_EACH(i, count) {
        int c = i % win.C, rest = i / win.C;
        int kw = rest % win.KW;
        rest /= win.KW;
        int kh = rest % win.KH;
        rest /= win.KH;
        int ow = rest % win.OW;
        rest /= win.OW;
        int oh = rest % win.OH, n = rest / win.OH;
        int h = oh * win.SH + kh - win.PH, w = ow * win.SW + kw - win.PW;
        bool inside = 0 <= h && h < win.H && 0 <= w && w < win.W;
        cols[i] = inside ? x[((n * win.H + h) * win.W + w) * win.C + c] : (real)0;
    }
}
