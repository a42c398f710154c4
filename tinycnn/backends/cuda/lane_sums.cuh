// Sums of 256 threads as 32 channels x 8 lanes, in a fixed order.

// The sum of `mine` over the 8 lanes of a channel, the same number for all of them; all 256 threads must come here.
static __device__ __forceinline__ double sum_of_lanes(double mine, double* memory) {
    __syncthreads();  // the previous sums have been read
    memory[threadIdx.x] = mine;
    __syncthreads();
    double sum = 0;
    for (int lane = 0; lane < 8; lane++) sum += memory[lane * 32 + threadIdx.x % 32];
    return sum;
}
