// col2im, the transpose of im2col: cols (N*OH*OW, KH*KW*C) -> x (N, H, W, C), each pixel sums the windows it lies in.
//
//     x[n, h, w, c] = sum over windows (oh, ow) that contain (h, w) of
//                     cols[n, oh, ow, h + PH - oh*SH, w + PW - ow*SW, c]
//
// Launch: one thread per pixel and channel; it visits its windows in row-major order.
#include "common.cuh"

extern "C" __global__ void col2im(const real* cols, real* x, Windows win, int count) {
    FOR_EACH(i, count) {
        int c = i % win.C, rest = i / win.C;
        int w = rest % win.W;
        rest /= win.W;
        int h = rest % win.H, n = rest / win.H;
        int last_oh = last_window(h, win.SH, win.PH, win.OH), last_ow = last_window(w, win.SW, win.PW, win.OW);
        real sum = 0;
        for (int oh = first_window(h, win.KH, win.SH, win.PH); oh <= last_oh; oh++)
            for (int ow = first_window(w, win.KW, win.SW, win.PW); ow <= last_ow; ow++) {
                int kh = h + win.PH - oh * win.SH, kw = w + win.PW - ow * win.SW;
                sum += cols[((((n * win.OH + oh) * win.OW + ow) * win.KH + kh) * win.KW + kw) * win.C + c];
            }
        x[i] = sum;
    }
}
