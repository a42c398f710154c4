// Loss of a classifier and its gradient in one pass: logits (N, K), and labels (N,) or target rows (N, K) (the other is 0)
//
//     loss = -1/N sum_n sum_k target[n, k] log p[n, k]        grad[n, k] = (p[n, k] sum_j target[n, j] - target[n, k]) / N
//
// with p = softmax(logits); see ops/softmax_cross_entropy.py. A class with target 0 may have p = 0.
//
// Launch: one block of 256 threads. Thread t takes the images t, t + 256, ...; then the threads' sums of the loss are added
// up pairwise in shared memory, always in the same order. Sums over images and classes are double.
#include "common.cuh"

extern "C" __global__ void softmax_cross_entropy(
    const real* logits, const long long* labels, const real* targets, real* loss, real* grad, int N, int K) {
    __shared__ double sums[256];
    double mine = 0;
    for (int n = threadIdx.x; n < N; n += 256) {
        const real* row = logits + n * K;
        real top = row[0];
        double total = 0, weights = 0;
        for (int k = 1; k < K; k++) top = row[k] > top || row[k] != row[k] ? row[k] : top;
        for (int k = 0; k < K; k++) total += exp(row[k] - top);
        real log_total = log((real)total);
        for (int k = 0; k < K; k++) {
            real target = targets ? targets[n * K + k] : (real)(labels[n] == k);
            weights += target;
            if (target != 0) mine -= target * (row[k] - top - log_total);
        }
        real weight = (real)weights;
        for (int k = 0; k < K; k++) {
            real target = targets ? targets[n * K + k] : (real)(labels[n] == k);
            grad[n * K + k] = (exp(row[k] - top - log_total) * weight - target) / N;
        }
    }
    sums[threadIdx.x] = mine;
    for (int half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) loss[0] = (real)(sums[0] / N);
}
