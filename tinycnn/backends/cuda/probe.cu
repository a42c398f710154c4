// The smallest kernel: one thread writes one number. Whether it runs tells whether anything will.
#include "common.cuh"

extern "C" __global__ void probe(real* answer) {
    answer[0] = 42;
}
