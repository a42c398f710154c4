// As gather_images, each image seen through its map of T numbers per axis (see data/augment.py). Measured from the centre,
//
//     (down, across) = maps[n] . terms[:, h, w],   terms = (h - (H-1)/2, w - (W-1)/2, 1, T - 3 waves)
//
// is where pixel (h, w) of the batch is read, between the four nearest pixels in proportion to how near they are;
// outside the image all is zero, or with reflect the image itself, mirrored at its outermost pixels.
// Launch: one thread per pixel and channel of the batch.
#include "common.cuh"

static __device__ __forceinline__ real pixel_or_zero(const unsigned char* image, Windows of, real h, real w, int c) {
    bool inside = h >= 0 && h < of.H && w >= 0 && w < of.W;  // compared as numbers: a far away place fits into no int
    return inside ? (real)image[((int)h * of.W + (int)w) * of.C + c] : (real)0;
}

static __device__ __forceinline__ real reflected(real place, real last) {
    if (place >= 0 && place <= last) return place;
    return last > 0 ? last - fabs(fmod(fabs(place), 2 * last) - last) : last;
}

extern "C" __global__ void gather_warped(const unsigned char* images, const long long* indices, const real* maps,
                                         const real* terms, int T, real* x, real scale, int reflect, Windows of,
                                         int count) {
    real middle_h = (real)(of.H - 1) / 2, middle_w = (real)(of.W - 1) / 2;
    FOR_EACH(i, count) {
        int c = i % of.C, rest = i / of.C;
        int w = rest % of.W;
        rest /= of.W;
        int h = rest % of.H, n = rest / of.H;
        const real* map = maps + 2 * T * n;
        const unsigned char* image = images + indices[n] * of.H * of.W * of.C;
        real down = map[0] * (h - middle_h) + map[1] * (w - middle_w) + map[2] + middle_h;
        real across = map[T] * (h - middle_h) + map[T + 1] * (w - middle_w) + map[T + 2] + middle_w;
        for (int t = 3; t < T; ++t) {
            real wave = terms[(t * of.H + h) * of.W + w];
            down += map[t] * wave;
            across += map[T + t] * wave;
        }
        if (reflect) {
            down = reflected(down, of.H - 1);
            across = reflected(across, of.W - 1);
        }
        real top = floor(down), left = floor(across);
        real below = down - top, right = across - left;  // how far past the upper left pixel
        real upper = pixel_or_zero(image, of, top, left, c) * (1 - right) +
                     pixel_or_zero(image, of, top, left + 1, c) * right;
        real lower = pixel_or_zero(image, of, top + 1, left, c) * (1 - right) +
                     pixel_or_zero(image, of, top + 1, left + 1, c) * right;
        x[i] = (upper * (1 - below) + lower * below) * scale;
    }
}
