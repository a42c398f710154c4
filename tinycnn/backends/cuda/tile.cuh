// Matrix products, one tile of the result per block: sums[m, n] = sum over k of A(m, k) B(k, n).
//
// A and B need not exist as matrices: a kernel hands over two loaders, and a loader may compute an address (convolution
// reads its patches straight from the image, im2col is never written) or a value (the mask of ReLU).
//
// A block of 256 threads computes 64 rows and 16*WIDE columns, 16 k at a time: each step's part of A and B is brought into
// shared memory once and used 64 times. The next part is fetched from global memory while the present one is multiplied.
// WIDE is 1, 2 or 4: a network with 16 filters must not pay for 64.
//
// Each thread keeps 4 x WIDE sums in registers. How the parts are multiplied, and which element of the tile sums[i][j] is,
// says tile_float.cuh or, compiled with TF32, tile_tf32.cuh. The sums over k run from the first to the last in a fixed
// order, so their bits do not depend on anything but k's range.
#include "common.cuh"

enum { ROWS = 64, STEP = 16 };  // a part lies in memory as STEP rows of 64 or fewer numbers, PITCH apart

#ifdef TF32
#include "tile_tf32.cuh"
#else
#include "tile_float.cuh"
#endif

// Which element (k, row) of its part thread t fetches as its i-th. Rows go with i, so t fetches one k for all of them, and
// neighbouring threads differ in k, along which the matrix lies in memory...
struct AlongK {
    static __device__ __forceinline__ int k(int t, int i) { return t % STEP; }
    static __device__ __forceinline__ int row(int t, int i) { return t / STEP + STEP * i; }
};
// ... or in the row, when it is along rows that the matrix lies in memory.
template <int SIZE>
struct AlongRows {
    static __device__ __forceinline__ int k(int t, int i) { return t / SIZE + 256 / SIZE * i; }
    static __device__ __forceinline__ int row(int t, int i) { return t % SIZE; }
};

// Elements of a part into registers: `load(k, row, i)` returns the i-th that this thread fetches.
template <class Way, int COUNT, class Loader>
static __device__ __forceinline__ void fetch(real* fetched, const Loader& load, int first_k, int end_k) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        int k = first_k + Way::k(threadIdx.x, i);
        fetched[i] = k < end_k ? load(k, Way::row(threadIdx.x, i), i) : (real)0;
    }
}

template <class Way, int COUNT>
static __device__ __forceinline__ void put(const real* fetched, real* part) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) part[Way::k(threadIdx.x, i) * PITCH + Way::row(threadIdx.x, i)] = prepared(fetched[i]);
}

// `memory` holds 2 * STEP * PITCH numbers.
template <int WIDE, class WayA, class WayB, class LoaderA, class LoaderB>
static __device__ __forceinline__ void multiply_tile(
    real sums[4][WIDE], real* memory, const LoaderA& load_a, const LoaderB& load_b, int first_k, int end_k) {
    real *a = memory, *b = memory + STEP * PITCH, next_a[4], next_b[WIDE];
    fetch<WayA, 4>(next_a, load_a, first_k, end_k);
    fetch<WayB, WIDE>(next_b, load_b, first_k, end_k);
    for (int k0 = first_k; k0 < end_k; k0 += STEP) {
        put<WayA, 4>(next_a, a);
        put<WayB, WIDE>(next_b, b);
        __syncthreads();  // the parts are complete
        fetch<WayA, 4>(next_a, load_a, k0 + STEP, end_k);
        fetch<WayB, WIDE>(next_b, load_b, k0 + STEP, end_k);
        multiply_parts<WIDE>(sums, a, b);
        __syncthreads();  // the parts are no longer needed
    }
}

// sums[n] of column n = sum over k of B(k, n), for the 16*WIDE columns from column0 on, of `columns`: the gradient of a
// bias. All terms may have one sign, so it is added in double, and with TF32 nothing is rounded.
template <int WIDE, class Loader>
static __device__ __forceinline__ void sum_columns(
    real* memory, const Loader& load, int first_k, int end_k, real* sums, int column0, int columns) {
    double* lanes = (double*)memory;
    int column = threadIdx.x % (16 * WIDE);
    double sum = 0;
    for (int k = first_k + threadIdx.x / (16 * WIDE); k < end_k; k += 16 / WIDE) sum += load(k, column, 0);
    lanes[threadIdx.x] = sum;
    __syncthreads();  // the lanes are complete
    if (threadIdx.x >= 16 * WIDE || column0 + column >= columns) return;
    for (int lane = 1; lane < 16 / WIDE; lane++) sum += lanes[lane * 16 * WIDE + column];
    sums[column0 + column] = (real)sum;
}

enum { NOBODY = 255 };  // the winner of a pool window whose largest value does not pass ReLU; places are fewer

// So many blocks have room on a multiprocessor at once: a thread may use 80 registers, 128 in double precision. Left to
// itself, the compiler makes do with 64, and keeps the rest in slow memory.
enum { BLOCKS = sizeof(real) == 4 ? 3 : 2 };

// A kernel for each width: name_16, name_32 and name_64 call name<1>, name<2> and name<4>.
#define FOR_EACH_WIDTH(name, parameters, arguments)                                                                   \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) name##_16 parameters { name<1> arguments; } \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) name##_32 parameters { name<2> arguments; } \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) name##_64 parameters { name<4> arguments; }
