// Convolution, bias, ReLU and max-pool in one pass: x (N, H, W, C) -> y (N, PH, PW, F), and the winner of each pool window.
//
// The convolution is a product of matrices (see ops/conv2d.py) on tiles (see tile.cuh): a row is a pixel of the output,
// a column a filter, and the sum runs over k = (kh, kw, c). Patches are read from the image as they are needed.
//
// Rows are numbered so that the pixels of a pool window stand together, and a tile holds whole windows only: 16 of 2x2.
// So the largest of each window can be found in shared memory, outputs that no window reads are never computed, and what
// is written is a quarter of what the convolution yields. Without a pool, windows have one pixel (places = 1). Where ReLU
// lets nothing through, the winner is NOBODY: backward need not read y.
//
// Launch: 256 threads; blockIdx.x counts tiles of 64 / places windows, blockIdx.y tiles of 16*WIDE filters.
#include "tile.cuh"

// Windows `win` slide over the image for the convolution, windows `pool` over its output; what they are divided by.
struct Conv {
    Windows win, pool;
    Divisor by_C, by_KW, by_pool_OW, by_pool_OH, by_places, by_pool_KW;
    int F, places;
};

// The upper left corner of the patch that makes row `row` of the tile whose first window is `window0`, and its address.
enum { NO_PIXEL = -(1 << 28) };  // so far above the image that no patch reaches it

struct Corner {
    int h, w, base;
};

static __device__ __forceinline__ Corner corner_of(const Conv& conv, int window0, int row, int N) {
    int place, ow, oh, pool_kw;
    int window = window0 + split(row, conv.by_places, &place);
    int n = split(split(window, conv.by_pool_OW, &ow), conv.by_pool_OH, &oh);
    int pool_kh = split(place, conv.by_pool_KW, &pool_kw);
    int h = (oh * conv.pool.SH + pool_kh) * conv.win.SH - conv.win.PH;
    int w = (ow * conv.pool.SW + pool_kw) * conv.win.SW - conv.win.PW;
    bool used = n < N && row < ROWS / conv.places * conv.places;
    return {used ? h : NO_PIXEL, w, ((n * conv.win.H + h) * conv.win.W + w) * conv.win.C};
}

struct LoadPatch {
    const real* x;
    const Conv& conv;
    Corner corners[4];  // of the four rows that this thread fetches
    __device__ __forceinline__ real operator()(int k, int row, int i) const {
        int c, kw, kh = split(split(k, conv.by_C, &c), conv.by_KW, &kw);
        const Corner& corner = corners[i];
        bool inside = (unsigned)(corner.h + kh) < (unsigned)conv.win.H && (unsigned)(corner.w + kw) < (unsigned)conv.win.W;
        return inside ? x[corner.base + (kh * conv.win.W + kw) * conv.win.C + c] : (real)0;
    }
};
struct LoadFilters {
    const real* weight;  // (KH*KW*C, F)
    int first, F;
    __device__ __forceinline__ real operator()(int k, int filter, int i) const {
        return first + filter < F ? weight[k * F + first + filter] : (real)0;
    }
};

template <int WIDE>
static __device__ __forceinline__ void conv2d(
    const real* x, const real* weight, const real* bias, real* y, unsigned char* winner, int relu, const Conv& conv, int N) {
    __shared__ __align__(16) real memory[ROWS * PITCH];
    int windows = ROWS / conv.places, window0 = blockIdx.x * windows, filter0 = blockIdx.y * 16 * WIDE;
    int count = N * conv.pool.OH * conv.pool.OW;
    real sums[4][WIDE] = {};
    LoadPatch load_patch = {x, conv};
    for (int i = 0; i < 4; i++) load_patch.corners[i] = corner_of(conv, window0, threadIdx.x / STEP + STEP * i, N);
    LoadFilters load_filters = {weight, filter0, conv.F};
    multiply_tile<WIDE, AlongK, AlongRows<16 * WIDE> >(
        sums, memory, load_patch, load_filters, 0, conv.win.KH * conv.win.KW * conv.win.C);

    for (int i = 0; i < 4; i++)
        for (int j = 0; j < WIDE; j++)
            memory[row_of(i) * PITCH + column_of<WIDE>(i, j)] = sums[i][j];
    __syncthreads();
    for (int i = threadIdx.x; i < windows * 16 * WIDE; i += 256) {
        int filter = i % (16 * WIDE), window = i / (16 * WIDE);
        if (window0 + window >= count || filter0 + filter >= conv.F) continue;
        real best = memory[window * conv.places * PITCH + filter];
        int place = 0;
        for (int p = 1; p < conv.places; p++) {
            real value = memory[(window * conv.places + p) * PITCH + filter];
            if (value > best || (value != value && best == best)) {
                best = value;
                place = p;
            }
        }
        best += bias[filter0 + filter];
        int o = (window0 + window) * conv.F + filter0 + filter;
        y[o] = relu && best <= 0 ? (real)0 : best;
        if (winner) winner[o] = relu && !(best > 0) ? NOBODY : place;
    }
}

FOR_EACH_WIDTH(conv2d,
               (const real* x, const real* weight, const real* bias, real* y, unsigned char* winner, int relu, Conv conv,
                int N),
               (x, weight, bias, y, winner, relu, conv, N))
