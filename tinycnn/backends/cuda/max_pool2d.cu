// Max-pool: x (N, H, W, C) -> y (N, OH, OW, C), the largest value of each window, and winner, its place kh*KW + kw.
//
// Padding never wins, of equal values the first in row-major order does, and NaN wins over every number (the first NaN,
// if there are several): a challenger c beats the champion b when c > b, or when c is NaN and b is not.
//
// Launch: one thread per output; neighbouring threads differ in the channel.
#include "common.cuh"

extern "C" __global__ void max_pool2d(const real* x, real* y, PLACE* winner, Windows win, int count) {
    FOR_EACH(i, count) {
        int c = i % win.C, rest = i / win.C;
        int ow = rest % win.OW;
        rest /= win.OW;
        int oh = rest % win.OH, n = rest / win.OH;
        real best = 0;
        int place = -1;
        for (int kh = 0; kh < win.KH; kh++)
            for (int kw = 0; kw < win.KW; kw++) {
                int h = oh * win.SH + kh - win.PH, w = ow * win.SW + kw - win.PW;
                if (h < 0 || h >= win.H || w < 0 || w >= win.W) continue;
                real value = x[((n * win.H + h) * win.W + w) * win.C + c];
                if (place < 0 || value > best || (value != value && best == best)) {
                    best = value;
                    place = kh * win.KW + kw;
                }
            }
        y[i] = best;
        winner[i] = (PLACE)place;
    }
}

// Backward: grad_x[n, h, w, c] = sum of grad_y over the windows that (h, w) has won, in row-major order.
//
// Launch: one thread per pixel and channel of x.

extern "C" __global__ void max_pool2d_backward(
    const real* grad_y, const PLACE* winner, real* grad_x, Windows win, int count) {
    FOR_EACH(i, count) {
        int c = i % win.C, rest = i / win.C;
        int w = rest % win.W;
        rest /= win.W;
        int h = rest % win.H, n = rest / win.H;
        int last_oh = last_window(h, win.SH, win.PH, win.OH), last_ow = last_window(w, win.SW, win.PW, win.OW);
        real sum = 0;
        for (int oh = first_window(h, win.KH, win.SH, win.PH); oh <= last_oh; oh++)
            for (int ow = first_window(w, win.KW, win.SW, win.PW); ow <= last_ow; ow++) {
                int place = (h + win.PH - oh * win.SH) * win.KW + w + win.PW - ow * win.SW;
                int o = ((n * win.OH + oh) * win.OW + ow) * win.C + c;
                if ((int)winner[o] == place) sum += grad_y[o];
            }
        grad_x[i] = sum;
    }
}
