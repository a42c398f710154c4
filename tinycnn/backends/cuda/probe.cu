// The smallest kernel: one thread writes one number. If it fails, no kernel can run.
#include "common.cuh"

extern "C" __global__ void probe(real* answer) {
    answer[0] = 42;
}
