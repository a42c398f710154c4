// A batch out of the data set: images (M, size) bytes, indices (N,) -> x (N, size), x[n] = images[indices[n]] * scale.
//
// The data set lies on the GPU as bytes, a quarter of the memory of float32; it may have more than 2^31 of them, so its
// addresses have 64 bits. Launch: one thread per pixel of the batch.
#include "common.cuh"

extern "C" __global__ void gather_images(
    const unsigned char* images, const long long* indices, real* x, real scale, int size, int count) {
    FOR_EACH(i, count) {
        int n = i / size, pixel = i % size;
        x[i] = (real)images[indices[n] * size + pixel] * scale;
    }
}
