// How many answers of a batch are right, and the sums over an epoch.
#include "common.cuh"

// logits (N, K), labels (N,) -> how many logits are the largest of their row where the label says; of equal ones the first
// counts, and NaN is larger than every number. Launch: one block of 256 threads; thread t takes the images t, t + 256, ...
extern "C" __global__ void count_correct(
    const real* logits, const long long* labels, long long* correct, int N, int K) {
    __shared__ int counts[256];
    int mine = 0;
    for (int n = threadIdx.x; n < N; n += 256) {
        const real* row = logits + n * K;
        int best = 0;
        for (int k = 1; k < K; k++)
            if (row[k] > row[best] || (row[k] != row[k] && row[best] == row[best])) best = k;
        mine += labels[n] == best;
    }
    counts[threadIdx.x] = mine;
    for (int half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) counts[threadIdx.x] += counts[threadIdx.x + half];
    }
    if (threadIdx.x == 0) correct[0] = counts[0];
}

// Rounded before it is added to anything: to the same bits as an array operation on the product alone.
static __device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }
static __device__ __forceinline__ double product(double a, double b) { return __dmul_rn(a, b); }

// The end of a recorded step of `count` images: the sums of the epoch grow, the next row of the table is next. Launch: one
// thread.
extern "C" __global__ void end_step(
    const real* loss, const long long* correct, real count, real* loss_sum, long long* correct_sum, long long* row) {
    loss_sum[0] += product(loss[0], count);
    correct_sum[0] += correct[0];
    row[0] += 1;
}
