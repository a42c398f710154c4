// How a block multiplies two parts of a tile (see tile.cuh) on tensor cores: the numbers are rounded to TF32, which has the
// range of float32 and 10 instead of 23 bits after the point; their products are exact and summed up in float32.
//
// The instruction mma.m16n8k8 lets the 32 threads of a warp, together, add the product of a 16 x 8 and an 8 x 8 matrix to
// a 16 x 8 matrix. Each thread holds 4, 2 and 4 elements of them; which ones is laid down in the PTX ISA, section "Matrix
// Fragments for mma.m16n8k8". Here warp w of 8 computes rows 16*(w % 4) to +15, and WIDE such products beside each other.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error TF32 needs compute capability 8.0 or newer
#endif

enum { PITCH = ROWS + 8 };  // so that the 32 threads of a warp, which read 4 k and 8 rows, meet in no memory bank

static __device__ __forceinline__ int row_of(int i) {
    return threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + i / 2 * 8;
}

template <int WIDE>
static __device__ __forceinline__ int column_of(int i, int j) {
    return threadIdx.x / 128 * 8 * WIDE + 8 * j + threadIdx.x % 4 * 2 + i % 2;
}

// To the nearest number that TF32 has; of two equally near ones, to that farther from 0.
static __device__ __forceinline__ float prepared(float x) {
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return __uint_as_float(rounded);
}

template <int WIDE>
static __device__ __forceinline__ void multiply_parts(float sums[4][WIDE], const float* a, const float* b) {
    a += threadIdx.x % 4 * PITCH + row_of(0);
    b += threadIdx.x % 4 * PITCH + threadIdx.x / 128 * 8 * WIDE + threadIdx.x % 32 / 4;
#pragma unroll
    for (int k = 0; k < STEP; k += 8) {
        unsigned x[4];
#pragma unroll
        for (int i = 0; i < 4; i++) x[i] = __float_as_uint(a[(k + i / 2 * 4) * PITCH + i % 2 * 8]);
#pragma unroll
        for (int j = 0; j < WIDE; j++) {
            unsigned y0 = __float_as_uint(b[k * PITCH + 8 * j]), y1 = __float_as_uint(b[(k + 4) * PITCH + 8 * j]);
            asm volatile(
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                : "+f"(sums[0][j]), "+f"(sums[1][j]), "+f"(sums[2][j]), "+f"(sums[3][j])
                : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y0), "r"(y1));
        }
    }
}
