// The number of correct answers of a batch, and the end of a recorded step (train/capture.py). Launch: one block of 256 threads.
#include "common.cuh"

// logits (N, K), labels (N,) -> how many logits are the largest of their row at the label; of equal ones the first
// counts, and NaN is larger than every number. Thread t takes the images t, t + 256, ...
static __device__ __forceinline__ int correct_answers(const real* logits, const long long* labels, int N, int K) {
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
    __syncthreads();  // the sum is complete
    return counts[0];
}

extern "C" __global__ void count_correct(
    const real* logits, const long long* labels, long long* correct, int N, int K) {
    int answers = correct_answers(logits, labels, N, K);
    if (threadIdx.x == 0) correct[0] = answers;
}

// The sums of the epoch grow, and the next row of the table (rows, words) takes its place in `here`, from where this step
// had its labels: they have been read when the first barrier is passed.
extern "C" __global__ void end_step(
    const real* loss, const real* logits, const long long* labels, double* loss_sum, long long* correct_sum,
    long long* row, const long long* table, long long* here, int N, int K, int rows, int words) {
    int answers = correct_answers(logits, labels, N, K);
    long long next = row[0] + 1;
    __syncthreads();  // all have read which row it was
    if (threadIdx.x == 0) {
        loss_sum[0] += __dmul_rn((double)loss[0], (double)N);  // rounded before it is added, as array operations do
        correct_sum[0] += answers;
        row[0] = next;
    }
    if (next < rows)
        for (int i = threadIdx.x; i < words; i += 256) here[i] = table[next * words + i];
}
