// The dense layer, y = relu(x W + bias), and its gradients: three matrix products on tiles (see tile.cuh).
//
// Launch of forward: 256 threads; blockIdx.x counts tiles of 64 rows, blockIdx.y tiles of 16*WIDE columns.
#include "tile.cuh"

// x (N, in), weight (in, out) -> y (N, out). When in is long and N*out small, there are too few tiles to fill a GPU: the
// sum over the inputs is then cut into gridDim.z ranges of `range` inputs, whose partial sums (gridDim.z, N, out) go to
// `y`, and dense_sum adds them up. With one range, bias and ReLU happen here.
struct LoadX {
    const real* x;
    int first, N, in;
    __device__ __forceinline__ real operator()(int k, int row, int i) const {
        return first + row < N ? x[(first + row) * in + k] : (real)0;
    }
};
struct LoadWeight {
    const real* weight;
    int first, out;
    __device__ __forceinline__ real operator()(int k, int column, int i) const {
        return first + column < out ? weight[k * out + first + column] : (real)0;
    }
};

static __device__ __forceinline__ real biased(real sum, real bias, int relu) {
    real y = sum + bias;
    return relu && y <= 0 ? (real)0 : y;  // NaN stays NaN
}

template <int WIDE>
static __device__ __forceinline__ void dense_forward(
    const real* x, const real* weight, const real* bias, real* y, int relu, int range, int N, int in, int out) {
    __shared__ __align__(16) real memory[2 * STEP * PITCH];
    real sums[4][WIDE] = {};
    int row0 = blockIdx.x * ROWS, column0 = blockIdx.y * 16 * WIDE, first = blockIdx.z * range;
    LoadX load_x = {x, row0, N, in};
    LoadWeight load_weight = {weight, column0, out};
    multiply_tile<WIDE, AlongK, AlongRows<16 * WIDE> >(
        sums, memory, load_x, load_weight, first, first + range < in ? first + range : in);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < WIDE; j++) {
            int n = row0 + row_of(i), unit = column0 + column_of<WIDE>(i, j);
            if (n >= N || unit >= out) continue;
            y[(blockIdx.z * N + n) * out + unit] = gridDim.z > 1 ? sums[i][j] : biased(sums[i][j], bias[unit], relu);
        }
}

FOR_EACH_WIDTH(dense_forward,
               (const real* x, const real* weight, const real* bias, real* y, int relu, int range, int N, int in, int out),
               (x, weight, bias, y, relu, range, N, in, out))

// Partial sums (ranges, N, out) -> y (N, out), added up in order; then bias and ReLU. Launch: one thread per output.
extern "C" __global__ void dense_sum(
    const real* parts, const real* bias, real* y, int relu, int ranges, int out, int count) {
    FOR_EACH(i, count) {
        real sum = 0;
        for (int part = 0; part < ranges; part++) sum += parts[part * count + i];
        y[i] = biased(sum, bias[i % out], relu);
    }
}

// Backward. What arrives is grad_y where y > 0, if there was a ReLU (then y is given, else it is 0).
static __device__ __forceinline__ real arriving(const real* grad_y, const real* y, int i) {
    return !y || y[i] > 0 ? grad_y[i] : (real)0;
}

// grad_x (N, in) = grad_y W^T; the sum runs over the outputs.
struct LoadGradRow {
    const real *grad_y, *y;
    int first, N, out;
    __device__ __forceinline__ real operator()(int k, int row, int i) const {
        return first + row < N ? arriving(grad_y, y, (first + row) * out + k) : (real)0;
    }
};
struct LoadWeightRow {
    const real* weight;
    int first, in, out;
    __device__ __forceinline__ real operator()(int k, int column, int i) const {
        return first + column < in ? weight[(first + column) * out + k] : (real)0;
    }
};

static __device__ __forceinline__ void grad_x_tile(
    real* memory, int tile, const real* grad_y, const real* y, const real* weight, real* grad_x, int N, int in, int out) {
    real sums[4][4] = {};
    int rows = (N + ROWS - 1) / ROWS, row0 = tile % rows * ROWS, column0 = tile / rows * 64;
    LoadGradRow load_grad = {grad_y, y, row0, N, out};
    LoadWeightRow load_weight = {weight, column0, in, out};
    multiply_tile<4, AlongK, AlongK>(sums, memory, load_grad, load_weight, 0, out);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int n = row0 + row_of(i), input = column0 + column_of<4>(i, j);
            if (n < N && input < in) grad_x[n * in + input] = sums[i][j];
        }
}

// grad_weight (in, out) = x^T grad_y; the sum runs over the images.
struct LoadInput {
    const real* x;
    int first, in;
    __device__ __forceinline__ real operator()(int k, int row, int i) const {
        return first + row < in ? x[k * in + first + row] : (real)0;
    }
};
struct LoadGrad {
    const real *grad_y, *y;
    int first, out;
    __device__ __forceinline__ real operator()(int k, int column, int i) const {
        return first + column < out ? arriving(grad_y, y, k * out + first + column) : (real)0;
    }
};

template <int WIDE>
static __device__ __forceinline__ void grad_weight_tile(
    real* memory, int tile, const real* x, const real* grad_y, const real* y, real* grad_weight, int N, int in, int out) {
    real sums[4][WIDE] = {};
    int rows = (in + ROWS - 1) / ROWS, row0 = tile % rows * ROWS, column0 = tile / rows * 16 * WIDE;
    LoadInput load_input = {x, row0, in};
    LoadGrad load_grad = {grad_y, y, column0, out};
    multiply_tile<WIDE, AlongRows<ROWS>, AlongRows<16 * WIDE> >(sums, memory, load_input, load_grad, 0, N);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < WIDE; j++) {
            int input = row0 + row_of(i), unit = column0 + column_of<WIDE>(i, j);
            if (input < in && unit < out) grad_weight[input * out + unit] = sums[i][j];
        }
}

// All at once, each block a tile of one of them. Launch: 256 threads; blocks for the tiles of grad_x, 64 x 64, `x_tiles` of
// them (0 if grad_x is not needed), then those of grad_weight, 64 x 16*WIDE, `weight_tiles` of them, then those of
// grad_bias = sum of grad_y over the images, 16*WIDE.
template <int WIDE>
static __device__ __forceinline__ void dense_backward(
    const real* x, const real* grad_y, const real* y, const real* weight, real* grad_x, real* grad_weight,
    real* grad_bias, int x_tiles, int weight_tiles, int N, int in, int out) {
    __shared__ __align__(16) real memory[2 * STEP * PITCH];
    int tile = blockIdx.x, column0 = (tile - x_tiles - weight_tiles) * 16 * WIDE;
    LoadGrad load_grad = {grad_y, y, column0, out};
    if (tile < x_tiles)
        grad_x_tile(memory, tile, grad_y, y, weight, grad_x, N, in, out);
    else if (column0 < 0)
        grad_weight_tile<WIDE>(memory, tile - x_tiles, x, grad_y, y, grad_weight, N, in, out);
    else
        sum_columns<WIDE>(memory, load_grad, 0, N, grad_bias, column0, out);
}

FOR_EACH_WIDTH(dense_backward,
               (const real* x, const real* grad_y, const real* y, const real* weight, real* grad_x, real* grad_weight,
                real* grad_bias, int x_tiles, int weight_tiles, int N, int in, int out),
               (x, grad_y, y, weight, grad_x, grad_weight, grad_bias, x_tiles, weight_tiles, N, in, out))
