// Depthwise convolution: filter f sees channel f / M alone. Mathematics in ops/convolutions/depthwise.py.
//
//     y[n, oh, ow, f] = bias[f] + sum over kh, kw of x[n, oh*SH + kh - PH, ow*SW + kw - PW, f / M] * weight[kh, kw, f]
//
// Neighbouring threads differ in the channel, so reads and writes are coalesced.
#include "common.cuh"
#include "lane_sums.cuh"

// Launch: one thread per output.
extern "C" __global__ void depthwise(
    const real* x, const real* weight, const real* bias, real* y, Windows win, int M, int count) {
    FOR_EACH(i, count) {
        int F = win.C * M, f = i % F, rest = i / F;
        int ow = rest % win.OW;
        rest /= win.OW;
        int oh = rest % win.OH, n = rest / win.OH;
        real sum = bias[f];
        for (int kh = 0; kh < win.KH; kh++)
            for (int kw = 0; kw < win.KW; kw++) {
                int h = oh * win.SH + kh - win.PH, w = ow * win.SW + kw - win.PW;
                if (h < 0 || h >= win.H || w < 0 || w >= win.W) continue;
                sum += x[((n * win.H + h) * win.W + w) * win.C + f / M] * weight[(kh * win.KW + kw) * F + f];
            }
        y[i] = sum;
    }
}

// grad_x: each pixel sums the windows that contain it, and the M filters of its channel, in a fixed order.
//
// Launch: one thread per pixel and channel of x.
extern "C" __global__ void depthwise_grad_x(
    const real* grad_y, const real* weight, real* grad_x, Windows win, int M, int count) {
    FOR_EACH(i, count) {
        int F = win.C * M, c = i % win.C, rest = i / win.C;
        int w = rest % win.W;
        rest /= win.W;
        int h = rest % win.H, n = rest / win.H;
        int last_oh = last_window(h, win.SH, win.PH, win.OH), last_ow = last_window(w, win.SW, win.PW, win.OW);
        real sum = 0;
        for (int oh = first_window(h, win.KH, win.SH, win.PH); oh <= last_oh; oh++)
            for (int ow = first_window(w, win.KW, win.SW, win.PW); ow <= last_ow; ow++) {
                int place = (h + win.PH - oh * win.SH) * win.KW + w + win.PW - ow * win.SW;
                for (int f = c * M; f < (c + 1) * M; f++)
                    sum += grad_y[((n * win.OH + oh) * win.OW + ow) * F + f] * weight[place * F + f];
            }
        grad_x[i] = sum;
    }
}

// Partial sums of grad_weight = sum grad_y x over ranges of the `count` outputs (n, oh, ow), in double: parts (ranges,
// KH*KW + 1, F). The last place of each range is grad_bias = sum grad_y.
//
// Launch: 256 threads as 32 filters x 8 lanes; blockIdx.x counts groups of 32 filters, y ranges, z places.
extern "C" __global__ void __launch_bounds__(256) depthwise_range_grad_weight(
    const real* x, const real* grad_y, double* parts, Windows win, int M, int range, int count) {
    __shared__ double memory[256];
    int F = win.C * M, f = blockIdx.x * 32 + threadIdx.x % 32, lane = threadIdx.x / 32, first = blockIdx.y * range;
    int end = first + range < count ? first + range : count, place = blockIdx.z, places = win.KH * win.KW;
    double sum = 0;
    for (int o = first + lane; o < end && f < F; o += 8) {
        int ow = o % win.OW, rest = o / win.OW, oh = rest % win.OH, n = rest / win.OH;
        int h = oh * win.SH + place / win.KW - win.PH, w = ow * win.SW + place % win.KW - win.PW;
        double grad = grad_y[o * F + f];
        if (place == places)
            sum += grad;
        else if (h >= 0 && h < win.H && w >= 0 && w < win.W)
            sum += grad * x[((n * win.H + h) * win.W + w) * win.C + f / M];
    }
    sum = sum_of_lanes(sum, memory);
    if (lane == 0 && f < F) parts[(blockIdx.y * (places + 1) + place) * F + f] = sum;
}

// The sums of all ranges. Launch: one thread per element of grad_weight and grad_bias, `weights` and F of them.
extern "C" __global__ void depthwise_merge_grad_weight(
    const double* parts, real* grad_weight, real* grad_bias, int ranges, int weights, int F) {
    FOR_EACH(i, weights + F) {
        double sum = 0;
        for (int r = 0; r < ranges; r++) sum += parts[r * (weights + F) + i];
        if ((int)i < weights)
            grad_weight[i] = (real)sum;
        else
            grad_bias[i - weights] = (real)sum;
    }
}
