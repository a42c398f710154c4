// Dropout with random bits from a counter: Philox4x32-10 (see backends/philox.py), so the mask depends on
// (seed, step, i) alone, equals that of every other backend bit for bit, and backward computes it again, which costs less
// than reading it from memory.
//
// Element i takes lane i % 4 of counter (i / 4, step): a thread draws four words and computes four elements. An element
// is kept when its word is at or above the threshold, p of all 2^32 words lie below it.
//
// A training step captured in a CUDA graph cannot be handed a new step number: it reads it from device memory
// (steps_done) and adds the number that it was captured with. Outside a graph the pointer is 0.
#include "common.cuh"

struct Words {
    unsigned lane[4];
};

static __device__ __forceinline__ Words philox4x32(unsigned block, unsigned long long step, unsigned long long seed) {
    unsigned c0 = block, c1 = 0, c2 = (unsigned)step, c3 = (unsigned)(step >> 32);
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        unsigned long long left = (unsigned long long)0xD2511F53u * c0, right = (unsigned long long)0xCD9E8D57u * c2;
        c0 = (unsigned)(right >> 32) ^ c1 ^ k0;
        c2 = (unsigned)(left >> 32) ^ c3 ^ k1;
        c1 = (unsigned)right;
        c3 = (unsigned)left;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    Words words = {{c0, c1, c2, c3}};
    return words;
}

// The mask itself: kept = 1 / (1 - p), or 0. Launch: one thread per four elements.
extern "C" __global__ void dropout_mask(real* mask, unsigned long long seed, unsigned long long step,
                                        const unsigned long long* steps_done, unsigned threshold, real kept, int count) {
    if (steps_done) step += *steps_done;
    FOR_EACH(block, (count + 3) / 4) {
        Words words = philox4x32(block, step, seed);
        for (int lane = 0; lane < 4 && 4 * (int)block + lane < count; lane++)
            mask[4 * block + lane] = words.lane[lane] >= threshold ? kept : (real)0;
    }
}

// y = x * mask, of a value in forward, of its gradient in backward. Launch: one thread per four elements.
extern "C" __global__ void dropout(const real* x, real* y, unsigned long long seed, unsigned long long step,
                                   const unsigned long long* steps_done, unsigned threshold, real kept, int count) {
    if (steps_done) step += *steps_done;
    FOR_EACH(block, (count + 3) / 4) {
        Words words = philox4x32(block, step, seed);
        for (int lane = 0; lane < 4 && 4 * (int)block + lane < count; lane++) {
            int i = 4 * block + lane;
            y[i] = x[i] * (words.lane[lane] >= threshold ? kept : (real)0);
        }
    }
}
