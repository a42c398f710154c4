// How a block multiplies two parts of a tile (see tile.cuh), in the precision of its numbers.
//
// Thread t computes 4 neighbouring rows and WIDE neighbouring columns: it reads 4 + WIDE numbers per 4*WIDE multiplications.
enum { PITCH = ROWS + 4 };  // longer than needed, so that fewer threads meet in one memory bank

static __device__ __forceinline__ int row_of(int i) { return threadIdx.x / 16 * 4 + i; }

template <int WIDE>
static __device__ __forceinline__ int column_of(int i, int j) { return threadIdx.x % 16 * WIDE + j; }

static __device__ __forceinline__ real prepared(real x) { return x; }

template <int WIDE>
static __device__ __forceinline__ void multiply_parts(real sums[4][WIDE], const real* a, const real* b) {
    int row = row_of(0), column = column_of<WIDE>(0, 0);
#pragma unroll
    for (int k = 0; k < STEP; k++) {
        real x[4], y[WIDE];
#pragma unroll
        for (int i = 0; i < 4; i++) x[i] = a[k * PITCH + row + i];
#pragma unroll
        for (int j = 0; j < WIDE; j++) y[j] = b[k * PITCH + column + j];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < WIDE; j++) sums[i][j] += x[i] * y[j];
    }
}
