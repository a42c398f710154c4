// Batch normalisation of images (N, H, W, C), followed by a max-pool (windows of one pixel: none). Mathematics in
// ops/batch_norm.py.
//
// Sums over all pixels of a channel are taken in double, in two stages and a fixed order: blocks write partial sums of their
// pixels, then one thread per channel adds those up. Launch of the first stage: 256 threads as 32 channels x 8 lanes, so a warp
// reads 32 neighbouring channels; blockIdx.x counts groups of 32 channels, blockIdx.y ranges of `range` pixels.
#include "common.cuh"
#include "lane_sums.cuh"

// x (count, C) -> per range of pixels the mean and the sum of squared distances from it, both (gridDim.y, C). Distances
// from a mean do not cancel, as the difference of mean square and squared mean does. They are taken from the mean as a
// `real`, and the sum of their squares is corrected for that.
extern "C" __global__ void __launch_bounds__(256) range_moments(
    const real* x, double* means, double* squares, int range, int count, int C) {
    __shared__ double memory[256];
    int c = blockIdx.x * 32 + threadIdx.x % 32, lane = threadIdx.x / 32, first = blockIdx.y * range;
    int end = first + range < count ? first + range : count;
    double sum = 0, square = 0;
    for (int i = first + lane; i < end && c < C; i += 8) sum += x[i * C + c];
    double mean = sum_of_lanes(sum, memory) / (end - first);
    real centre = (real)mean;
    for (int i = first + lane; i < end && c < C; i += 8) square += (x[i * C + c] - centre) * (x[i * C + c] - centre);
    square = sum_of_lanes(square, memory);
    if (lane == 0 && c < C) {
        means[blockIdx.y * C + c] = mean;
        squares[blockIdx.y * C + c] = square - (end - first) * (mean - centre) * (mean - centre);
    }
}

// Those of all ranges -> mean and biased variance (C,) of all pixels (Chan, Golub, LeVeque, 1979).
extern "C" __global__ void merge_moments(
    const double* means, const double* squares, real* mean, real* var, int ranges, int range, int count, int C) {
    FOR_EACH(c, C) {
        double sum = 0, square = 0;
        for (int r = 0; r < ranges; r++) sum += means[r * C + c] * (r < ranges - 1 ? range : count - r * range);
        double middle = sum / count;
        for (int r = 0; r < ranges; r++) {
            double off = means[r * C + c] - middle;
            square += squares[r * C + c] + off * off * (r < ranges - 1 ? range : count - r * range);
        }
        mean[c] = (real)middle;
        var[c] = (real)(square / count);
    }
}

// running += momentum * (batch - running), for both statistics. Launch: one thread per channel.
extern "C" __global__ void update_statistics(
    real* running_mean, real* running_var, const real* mean, const real* var, real momentum, int C) {
    FOR_EACH(c, C) {
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_var[c] += momentum * (var[c] - running_var[c]);
    }
}

// y = the largest of gamma (x - mean) / sqrt(var + eps) + beta in each window, and its place. Launch: one thread per y.
extern "C" __global__ void normalise_pool(
    const real* x, const real* gamma, const real* beta, const real* mean, const real* var, real* y, unsigned char* winner,
    real eps, Windows pool, int count) {
    FOR_EACH(i, count) {
        int c = i % pool.C, rest = i / pool.C;
        int ow = rest % pool.OW;
        rest /= pool.OW;
        int oh = rest % pool.OH, n = rest / pool.OH, place = 0;
        real slope = gamma[c] / sqrt(var[c] + eps), best = 0;
        for (int kh = 0; kh < pool.KH; kh++)
            for (int kw = 0; kw < pool.KW; kw++) {
                int h = oh * pool.SH + kh, w = ow * pool.SW + kw, p = kh * pool.KW + kw;
                real value = (x[((n * pool.H + h) * pool.W + w) * pool.C + c] - mean[c]) * slope + beta[c];
                if (p == 0 || value > best || (value != value && best == best)) {
                    best = value;
                    place = p;
                }
            }
        y[i] = best;
        winner[i] = (unsigned char)place;
    }
}

// Partial sums of grad_gamma = sum grad_y x_hat and grad_beta = sum grad_y over ranges of the `count` pooled pixels, where
// x_hat is that of the window's winner. Launch: first stage, see above.
extern "C" __global__ void __launch_bounds__(256) range_grad_gamma_beta(
    const real* x, const real* grad_y, const unsigned char* winner, const real* mean, const real* var, double* gammas,
    double* betas, real eps, Windows pool, int range, int count) {
    __shared__ double memory[256];
    int c = blockIdx.x * 32 + threadIdx.x % 32, lane = threadIdx.x / 32, first = blockIdx.y * range;
    int end = first + range < count ? first + range : count;
    double sum_gamma = 0, sum_beta = 0;
    for (int o = first + lane; o < end && c < pool.C; o += 8) {
        int ow = o % pool.OW, rest = o / pool.OW, place = winner[o * pool.C + c];
        int h = rest % pool.OH * pool.SH + place / pool.KW, w = ow * pool.SW + place % pool.KW, n = rest / pool.OH;
        real grad = grad_y[o * pool.C + c];
        sum_gamma += grad * (x[((n * pool.H + h) * pool.W + w) * pool.C + c] - mean[c]);
        sum_beta += grad;
    }
    sum_gamma = sum_of_lanes(sum_gamma, memory);
    sum_beta = sum_of_lanes(sum_beta, memory);
    if (lane == 0 && c < pool.C) {
        gammas[blockIdx.y * pool.C + c] = sum_gamma / sqrt(var[c] + eps);
        betas[blockIdx.y * pool.C + c] = sum_beta;
    }
}

extern "C" __global__ void merge_grad_gamma_beta(
    const double* gammas, const double* betas, real* grad_gamma, real* grad_beta, int ranges, int C) {
    FOR_EACH(c, C) {
        double sum_gamma = 0, sum_beta = 0;
        for (int r = 0; r < ranges; r++) {
            sum_gamma += gammas[r * C + c];
            sum_beta += betas[r * C + c];
        }
        grad_gamma[c] = (real)sum_gamma;
        grad_beta[c] = (real)sum_beta;
    }
}

// grad_x = gamma / std * (g - grad_beta / M - x_hat grad_gamma / M), where g is what the windows that the pixel has won send
// back. With fixed statistics (batch = 0) the last two terms are none. With relu, x itself came out of a ReLU, and the
// gradient of what went into it is wanted. Launch: one thread per element of x.
extern "C" __global__ void norm_grad_x(
    const real* x, const real* grad_y, const unsigned char* winner, const real* gamma, const real* mean, const real* var,
    const real* grad_gamma, const real* grad_beta, real* grad_x, real eps, Windows pool, int batch, int relu, int M,
    int count) {
    FOR_EACH(i, count) {
        int c = i % pool.C, rest = i / pool.C;
        int w = rest % pool.W;
        rest /= pool.W;
        int h = rest % pool.H, n = rest / pool.H;
        int last_oh = last_window(h, pool.SH, 0, pool.OH), last_ow = last_window(w, pool.SW, 0, pool.OW);
        real sum = 0, inverse_std = 1 / sqrt(var[c] + eps);
        for (int oh = first_window(h, pool.KH, pool.SH, 0); oh <= last_oh; oh++)
            for (int ow = first_window(w, pool.KW, pool.SW, 0); ow <= last_ow; ow++) {
                int o = ((n * pool.OH + oh) * pool.OW + ow) * pool.C + c;
                if ((int)winner[o] == (h - oh * pool.SH) * pool.KW + w - ow * pool.SW) sum += grad_y[o];
            }
        if (batch) sum -= grad_beta[c] / M + (x[i] - mean[c]) * inverse_std * (grad_gamma[c] / M);
        grad_x[i] = relu && !(x[i] > 0) ? (real)0 : gamma[c] * inverse_std * sum;
    }
}
