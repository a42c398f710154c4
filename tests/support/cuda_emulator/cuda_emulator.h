// CUDA kernels as host functions: g++ compiles a .cu file with this header, and links emulator.cpp, which explains it.
#include <math.h>
#include <stddef.h>
#include <string.h>

#include <tuple>
#include <utility>

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static
#define __syncthreads() emulator::barrier(__LINE__)

struct dim3 {
    unsigned x, y, z;
};
static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static __attribute__((noinline)) float __fmul_rn(float a, float b) { return a * b; }  // no part of a*b + c
static __attribute__((noinline)) double __dmul_rn(double a, double b) { return a * b; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }

// A GPU's exp and log may err in the last bit (CUDA Programming Guide, "Mathematical Functions"). These always do, except
// where the result is exact, so that no test relies on that bit.
static inline float above(float y) { return nextafterf(y, INFINITY); }
static inline double above(double y) { return nextafter(y, (double)INFINITY); }
template <class Real>
static inline Real exp_of(Real x) {
    Real y = exp(x);
    return x != 0 && y > 0 ? above(y) : y;
}
template <class Real>
static inline Real log_of(Real x) {
    Real y = log(x);
    return x != 1 ? above(y) : y;
}
#define exp exp_of
#define log log_of

namespace emulator {

struct Subnormals {  // count as zero where numbers have 32 bits: CuPy compiles with -ftz=true
    Subnormals(size_t size);
    ~Subnormals();
    unsigned before;
};

struct Place {
    dim3 thread, block, threads, blocks;
};
extern Place here;

void barrier(int line);
const char* launch(const unsigned* grid, const unsigned* block, int order, void (*run)(void*), void* what);

template <class... Parameters>
struct Launch {
    void (*kernel)(Parameters...);
    void** arguments;

    template <size_t... I>
    __attribute__((no_sanitize("thread"))) void call(std::index_sequence<I...>) {
        kernel(*(Parameters*)arguments[I]...);
    }
    __attribute__((no_sanitize("thread"))) static void run(void* self) {
        ((Launch*)self)->call(std::index_sequence_for<Parameters...>());
    }
};

template <class... Parameters>
__attribute__((no_sanitize("thread"))) const char* launch_kernel(
    void (*kernel)(Parameters...), const unsigned* grid, const unsigned* block, int order, void** arguments) {
    Launch<Parameters...> what = {kernel, arguments};
    return launch(grid, block, order, Launch<Parameters...>::run, &what);
}

}  // namespace emulator

// Instructions of PTX; __init__.py makes calls of them out of asm(...). Operands are numbered as there, results first.
namespace ptx {

void cvt_rna_tf32_f32(int line, unsigned& rounded, float x);
void mma_sync_aligned_m16n8k8_row_col_f32_tf32_tf32_f32(  // d = a b + c
    int line, float& d0, float& d1, float& d2, float& d3, unsigned a0, unsigned a1, unsigned a2, unsigned a3,
    unsigned b0, unsigned b1, float c0, float c1, float c2, float c3);

}  // namespace ptx

#ifndef REAL
#define REAL float
#endif

#define threadIdx emulator::here.thread
#define blockIdx emulator::here.block
#define blockDim emulator::here.threads
#define gridDim emulator::here.blocks

#define EMULATE(kernel)                                                                                       \
    extern "C" __global__ const char* launch_##kernel(const unsigned* grid, const unsigned* block, int order, \
                                                      void** arguments) {                                     \
        emulator::Subnormals are_zero(sizeof(REAL));                                                          \
        return emulator::launch_kernel(kernel, grid, block, order, arguments);                                \
    }
