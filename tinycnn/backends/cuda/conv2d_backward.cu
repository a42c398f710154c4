// The gradients of convolution, bias, ReLU and max-pool (conv2d.cu), in three steps:
//
//   unpool_relu         grad_y of the pooled output -> `grad` (N, OH, OW, F), that of the convolution's own output
//   conv2d_grad_x       grad -> grad_x (N, H, W, C)
//   conv2d_grad_weight  grad, x -> grad_weight (KH*KW*C, F), grad_bias (F,)
//
// The first convolution of a network has no use for grad_x. Then conv2d_grad_weight is the only reader of `grad`, the
// largest array of the step, and finds its elements in grad_y itself, if no two pool windows overlap.
#include "tile.cuh"

// grad = sum of grad_y over the windows that the pixel has won, in row-major order. Without a pool the windows have one
// pixel, winner is 0, and y shows what passed ReLU. Launch: one thread per element of grad.
extern "C" __global__ void unpool_relu(
    const real* grad_y, const real* y, const unsigned char* winner, real* grad, Windows pool, int count) {
    FOR_EACH(i, count) {
        int f = i % pool.C, rest = i / pool.C;
        int w = rest % pool.W;
        rest /= pool.W;
        int h = rest % pool.H, n = rest / pool.H;
        int last_oh = last_window(h, pool.SH, 0, pool.OH), last_ow = last_window(w, pool.SW, 0, pool.OW);
        real sum = 0;
        for (int oh = first_window(h, pool.KH, pool.SH, 0); oh <= last_oh; oh++)
            for (int ow = first_window(w, pool.KW, pool.SW, 0); ow <= last_ow; ow++) {
                int o = ((n * pool.OH + oh) * pool.OW + ow) * pool.C + f;
                int place = (h - oh * pool.SH) * pool.KW + w - ow * pool.SW;
                if (winner ? (int)winner[o] == place : y[o] > 0) sum += grad_y[o];
            }
        grad[i] = sum;
    }
}

struct ConvBackward {
    Windows win, pool;
    Divisor by_C, by_KW, by_F, by_W, by_H, by_OW, by_OH, by_SH, by_SW, by_pool_SH, by_pool_SW;
    int F;
};

// grad_x: pixel (h, w) was seen by filter position (kh, kw) of window ((h + PH - kh) / SH, (w + PW - kw) / SW), where that
// is a window at all. So a row of the product is a pixel of x, a column a channel, and the sum runs over (kh, kw, f):
// every pixel gathers its own gradient. Launch: as conv2d, with tiles of 64 pixels and 16*WIDE channels.
struct Pixel {
    int h, w, n;  // h and w with the padding added; h far below 0: no pixel
};

struct LoadGradPatch {
    const real* grad;
    const ConvBackward& conv;
    Pixel pixels[4];  // of the four rows that this thread fetches
    __device__ __forceinline__ real operator()(int k, int row, int i) const {
        int f, kw, kh = split(split(k, conv.by_F, &f), conv.by_KW, &kw), down, across;
        const Pixel& pixel = pixels[i];
        if (pixel.h < kh || pixel.w < kw) return 0;
        int oh = split(pixel.h - kh, conv.by_SH, &down), ow = split(pixel.w - kw, conv.by_SW, &across);
        if (down || across || oh >= conv.win.OH || ow >= conv.win.OW) return 0;
        return grad[((pixel.n * conv.win.OH + oh) * conv.win.OW + ow) * conv.F + f];
    }
};
struct LoadFlipped {
    const real* weight;  // (KH*KW, C, F)
    const ConvBackward& conv;
    int first;
    __device__ __forceinline__ real operator()(int k, int channel, int i) const {
        int f, position = split(k, conv.by_F, &f), c = first + channel;
        return c < conv.win.C ? weight[(position * conv.win.C + c) * conv.F + f] : (real)0;
    }
};

template <int WIDE>
static __device__ __forceinline__ void conv2d_grad_x(
    const real* grad, const real* weight, real* grad_x, const ConvBackward& conv, int N) {
    __shared__ __align__(16) real memory[2 * STEP * PITCH];
    int row0 = blockIdx.x * ROWS, channel0 = blockIdx.y * 16 * WIDE, count = N * conv.win.H * conv.win.W;
    real sums[4][WIDE] = {};
    LoadGradPatch load_grad = {grad, conv};
    for (int i = 0; i < 4; i++) {
        int row = row0 + threadIdx.x / STEP + STEP * i, h, w;
        int n = split(split(row, conv.by_W, &w), conv.by_H, &h);
        load_grad.pixels[i] = {row < count ? h + conv.win.PH : -1, w + conv.win.PW, n};
    }
    LoadFlipped load_weight = {weight, conv, channel0};
    multiply_tile<WIDE, AlongK, AlongK>(sums, memory, load_grad, load_weight, 0, conv.win.KH * conv.win.KW * conv.F);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < WIDE; j++) {
            int row = row0 + row_of(i), c = channel0 + column_of<WIDE>(i, j);
            if (row < count && c < conv.win.C) grad_x[row * conv.win.C + c] = sums[i][j];
        }
}

FOR_EACH_WIDTH(conv2d_grad_x,
               (const real* grad, const real* weight, real* grad_x, ConvBackward conv, int N),
               (grad, weight, grad_x, conv, N))

// grad_weight = im2col(x)^T grad: a row is (kh, kw, c), a column a filter, and the sum runs over all pixels of all outputs.
// There are few tiles and a long sum, so the sum is cut into gridDim.z ranges of `range` pixels; their partial sums go to
// parts (gridDim.z, KH*KW*C + 1, F), sum_parts adds them up. The last row is the bias, whose gradient is the plain sum.
// Launch: 256 threads; blockIdx.x counts tiles of 64 rows and one block more, for the bias; blockIdx.y tiles of 16*WIDE
// filters.
struct LoadSeen {
    const real* x;
    const ConvBackward& conv;
    int kh, kw, c;  // of the one row that this thread fetches
    bool exists;    // such a row
    __device__ __forceinline__ real operator()(int k, int row, int i) const {
        if (!exists) return 0;
        int ow, oh, n = split(split(k, conv.by_OW, &ow), conv.by_OH, &oh);
        int h = oh * conv.win.SH + kh - conv.win.PH, w = ow * conv.win.SW + kw - conv.win.PW;
        bool inside = (unsigned)h < (unsigned)conv.win.H && (unsigned)w < (unsigned)conv.win.W;
        return inside ? x[((n * conv.win.H + h) * conv.win.W + w) * conv.win.C + c] : (real)0;
    }
};
struct LoadOutputGrad {
    const real *grad, *y;         // (N, OH, OW, F); y is 0 if all passed
    const unsigned char* winner;  // 0, or (N, pool.OH, pool.OW, F), as grad then is; windows do not overlap
    const ConvBackward& conv;
    int first;
    __device__ __forceinline__ real operator()(int k, int filter, int i) const {
        int f = first + filter, ow, oh, down, across;
        if (f >= conv.F) return 0;
        if (!winner) return !y || y[k * conv.F + f] > 0 ? grad[k * conv.F + f] : (real)0;
        int n = split(split(k, conv.by_OW, &ow), conv.by_OH, &oh);
        int h = split(oh, conv.by_pool_SH, &down), w = split(ow, conv.by_pool_SW, &across);
        if (h >= conv.pool.OH || w >= conv.pool.OW) return 0;
        int o = ((n * conv.pool.OH + h) * conv.pool.OW + w) * conv.F + f;
        real value = grad[o];  // beside the winner, not after it
        return (int)winner[o] == down * conv.pool.KW + across ? value : (real)0;
    }
};

template <int WIDE>
static __device__ __forceinline__ void conv2d_grad_weight(
    const real* x, const real* grad, const real* y, const unsigned char* winner, real* parts, const ConvBackward& conv,
    int range, int count) {
    __shared__ __align__(16) real memory[2 * STEP * PITCH];
    int rows = conv.win.KH * conv.win.KW * conv.win.C, row0 = blockIdx.x * ROWS, filter0 = blockIdx.y * 16 * WIDE;
    int first = blockIdx.z * range, row = row0 + threadIdx.x % ROWS;
    real sums[4][WIDE] = {};
    LoadSeen load_seen = {x, conv};
    load_seen.kh = split(split(row, conv.by_C, &load_seen.c), conv.by_KW, &load_seen.kw);
    load_seen.exists = row < rows;
    LoadOutputGrad load_grad = {grad, y, winner, conv, filter0};
    int end = first + range < count ? first + range : count;
    if (blockIdx.x == gridDim.x - 1) {
        sum_columns<WIDE>(memory, load_grad, first, end, parts + (blockIdx.z * (rows + 1) + rows) * conv.F, filter0, conv.F);
        return;
    }
    multiply_tile<WIDE, AlongRows<ROWS>, AlongRows<16 * WIDE> >(sums, memory, load_seen, load_grad, first, end);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < WIDE; j++) {
            int r = row0 + row_of(i), f = filter0 + column_of<WIDE>(i, j);
            if (r < rows && f < conv.F) parts[(blockIdx.z * (rows + 1) + r) * conv.F + f] = sums[i][j];
        }
}

FOR_EACH_WIDTH(conv2d_grad_weight,
               (const real* x, const real* grad, const real* y, const unsigned char* winner, real* parts,
                ConvBackward conv, int range, int count),
               (x, grad, y, winner, parts, conv, range, count))

// parts (ranges, KH*KW*C + 1, F), added up in order, in double -> grad_weight (KH*KW*C, F) and grad_bias (F,). Launch: one thread per
// weight and bias.
extern "C" __global__ void sum_parts(
    const real* parts, real* grad_weight, real* grad_bias, int ranges, int weights, int count) {
    FOR_EACH(i, count) {
        double sum = 0;
        for (int part = 0; part < ranges; part++) sum += parts[part * count + i];
        if (i < (unsigned)weights)
            grad_weight[i] = (real)sum;
        else
            grad_bias[i - weights] = (real)sum;
    }
}
