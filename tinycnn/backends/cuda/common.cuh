// What all kernel files share. (The loader in cupy_launch.py replaces #include by the file, so the compiler needs no path.)
//
// REAL is float or double, PLACE the integer that holds a place in a pooling window: both are set by the compiler option
// -D. Arrays are C-contiguous. A kernel computes one output element per thread unless it says otherwise, reads what it
// needs and adds it up in a fixed order ("gather form"): no two threads write to the same place, so there are no atomics
// and the same input gives the same bits on every run. Elements are numbered with 32 bits; the loader checks that they
// are fewer than 2^31.

typedef REAL real;

// Consecutive threads take consecutive elements, so a warp reads and writes 32 neighbours in memory at a time; when
// there are more elements than threads, each thread goes on one whole grid further.
#define FOR_EACH(i, count) \
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < (unsigned)(count); i += gridDim.x * blockDim.x)

// Windows of KH x KW pixels slide over images (N, H, W, C) by SH and SW, over PH and PW rows and columns of padding;
// OH x OW of them fit. Passed by value; windows_of() in cupy_launch.py is the other side.
struct Windows {
    int H, W, C, KH, KW, SH, SW, PH, PW, OH, OW;
};

// The gradient of pixel position h comes from the windows that contain it: window o covers h when 0 <= h + P - o*S < K.
static __device__ __forceinline__ int first_window(int h, int K, int S, int P) {
    int past = h + P - K;
    return past < 0 ? 0 : past / S + 1;
}

static __device__ __forceinline__ int last_window(int h, int S, int P, int count) {
    int last = (h + P) / S;
    return last < count ? last : count - 1;
}

// Division by a number that is known before the launch: a multiplication and a shift instead of some twenty
// instructions. With s = ceil(log2 d) and m = floor(2^32 (2^s - d) / d) + 1, i / d = (high word of i*m + i) >> s for all
// i < 2^31 (Granlund, Montgomery, 1994).
struct Divisor {
    unsigned d, m, s;
};

static __device__ __forceinline__ int divided(int i, Divisor by) {
    return (int)((__umulhi((unsigned)i, by.m) + (unsigned)i) >> by.s);
}

// i -> i / d, and what remains of i.
static __device__ __forceinline__ int split(int i, Divisor by, int* rest) {
    int quotient = divided(i, by);
    *rest = i - quotient * (int)by.d;
    return quotient;
}
