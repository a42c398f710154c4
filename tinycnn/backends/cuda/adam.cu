// One step of Adam or AdamW for many parameters at once (formulas in optim.py): their addresses travel with the launch.
//
// What changes from step to step are three numbers: step_size = lr / (1 - beta1^t), v_scale = 1 / (1 - beta2^t) and
// left = 1 - lr * decay (1 for Adam). A step captured in a CUDA graph cannot be handed new numbers; it reads each from the
// place in device memory that it was given. Outside a graph these places are 0, and the numbers come with the launch.
//
// rest = 1 - beta comes from the host: in float32, 1 - 0.999 would be off in the fifth digit.
//
// Launch: one thread per number, all parameters counted through; ends[t] is where parameter t ends.
#include "common.cuh"

enum { MOST_PARAMETERS = 32 };

struct Parameters {
    real *p[MOST_PARAMETERS], *g[MOST_PARAMETERS], *m[MOST_PARAMETERS], *v[MOST_PARAMETERS];
    int ends[MOST_PARAMETERS];
};

extern "C" __global__ void adam(Parameters of, const real* step_size_at, const real* v_scale_at, const real* left_at,
                                real step_size, real v_scale, real left, real beta1, real rest1, real beta2,
                                real rest2, real eps, real weight_decay, int count) {
    if (step_size_at) step_size = *step_size_at;
    if (v_scale_at) v_scale = *v_scale_at;
    if (left_at) left = *left_at;
    FOR_EACH(i, count) {
        int t = 0;
        while ((int)i >= of.ends[t]) t++;
        int own = i - (t ? of.ends[t - 1] : 0);
        real p = of.p[t][own] * left, g = of.g[t][own] + weight_decay * of.p[t][own];
        real m = beta1 * of.m[t][own] + rest1 * g, v = beta2 * of.v[t][own] + rest2 * (g * g);
        of.m[t][own] = m;
        of.v[t][own] = v;
        of.p[t][own] = p - step_size * m / (sqrt(v * v_scale) + eps);
    }
}
