"""What the walk shows beside a sum: the same sum in letters, per kind of layer and quantity, for one image.

The docstrings of ``ops/`` write gradients for a whole batch, often as products of matrices. These are the same
equations for one number, in the same notation. Each line is an equation; the lines
below the first say what its letters stand for.
"""

PIXEL = "h = oh*SH + kh - PH\nw = ow*SW + kw - PW"
PLACE = "kh = h + PH - oh*SH\nkw = w + PW - ow*SW"

FORMULAS = {
    "Conv2d": {
        "y": f"y[oh, ow, f] = Σ_{{kh, kw, c}} x[h, w, c] · weight[kh, kw, c, f] + bias[f]\n{PIXEL}",
        "grad_x": f"grad_x[h, w, c] = Σ_{{oh, ow, f}} grad_y[oh, ow, f] · weight[kh, kw, c, f]\n{PLACE}",
        "weight.grad": f"grad_weight[kh, kw, c, f] = Σ_{{oh, ow}} x[h, w, c] · grad_y[oh, ow, f]\n{PIXEL}",
        "bias.grad": "grad_bias[f] = Σ_{oh, ow} grad_y[oh, ow, f]",
    },
    "Dense": {
        "y": "y[j] = Σ_{i} x[i] · weight[i, j] + bias[j]",
        "grad_x": "grad_x[i] = Σ_{j} grad_y[j] · weight[i, j]",
        "weight.grad": "grad_weight[i, j] = x[i] · grad_y[j]",
        "bias.grad": "grad_bias[j] = grad_y[j]",
    },
    "MaxPool2d": {
        "y": f"y[oh, ow, c] = max_{{kh, kw}} x[h, w, c]\n{PIXEL}",
        "grad_x": 'grad_x[h, w, c] = Σ_{"windows over the pixel"} grad_y[oh, ow, c] · won\n'
        'won = 1 " if the pixel won the window, else " 0',
    },
    "AvgPool2d": {
        "y": f"y[oh, ow, c] = 1/(KH*KW) · Σ_{{kh, kw}} x[h, w, c]\n{PIXEL}",
        "grad_x": 'grad_x[h, w, c] = 1/(KH*KW) · Σ_{"windows over the pixel"} grad_y[oh, ow, c]',
    },
    "GlobalAvgPool2d": {
        "y": "y[c] = 1/(H*W) · Σ_{h, w} x[h, w, c]",
        "grad_x": "grad_x[h, w, c] = grad_y[c] / (H*W)",
    },
    "ReLU": {
        "y": "y = max(x, 0)",
        "grad_x": 'grad_x = grad_y " if " y > 0, " else " 0',
    },
    "Dropout": {
        "y": "y = x · mask",
        "grad_x": "grad_x = grad_y · mask",
    },
    "BatchNorm": {
        "y": "y[c] = gamma[c] · (x[c] - mean[c]) / √(var[c] + eps) + beta[c]",
        "grad_x": "grad_x[c] = grad_y[c] · gamma[c] / √(var[c] + eps)",
        "grad_x in training mode": "grad_x[c] = d · gamma[c] / √(var[c] + eps)\n"
        "d = grad_y[c] - grad_beta[c] / M - x̂[c] · grad_gamma[c] / M",
        "gamma.grad": 'grad_gamma[c] = Σ_{"places of the map c"} grad_y[c] · x̂[c]',
        "beta.grad": 'grad_beta[c] = Σ_{"places of the map c"} grad_y[c]',
    },
    "Rescaling": {
        "y": "y = x · scale + offset",
        "grad_x": "grad_x = grad_y · scale",
    },
    "LeakyReLU": {
        "y": 'y = x " if " x > 0, " else " slope · x',
        "grad_x": 'grad_x = grad_y " if " x > 0, " else " slope · grad_y',
    },
    "Sigmoid": {
        "y": "y = 1 / (1 + e^{-x})",
        "grad_x": "grad_x = grad_y · y · (1 - y)",
    },
    "Tanh": {
        "y": "y = (e^{x} - e^{-x}) / (e^{x} + e^{-x})",
        "grad_x": "grad_x = grad_y · (1 - y²)",
    },
    "Residual": {
        "y": 'y = "body(x)" + "shortcut(x)"',
        "branch": '"gradient of the output of a branch" = grad_y',
        "grad_x": 'grad_x = "what the body passes back" + "what the shortcut passes back"',
    },
    "Add": {
        "y": 'y = "branch"_{1}(x) + "branch"_{2}(x) + …',
        "branch": '"gradient of the output of a branch" = grad_y',
        "grad_x": 'grad_x = Σ_{"branches"} "what the branch passes back"',
    },
    "Multiply": {
        "y": 'y = "branch"_{1}(x) · "branch"_{2}(x) · …',
        "branch": '"gradient of the output of a branch" = grad_y · "outputs of the others"',
        "grad_x": 'grad_x = Σ_{"branches"} "what the branch passes back"',
    },
    "Concatenate": {
        "y": 'y[c] = "map c, counted over all branches"',
        "branch": '"gradient of the output of a branch" = "its maps of " grad_y',
        "grad_x": 'grad_x = Σ_{"branches"} "what the branch passes back"',
    },
    "loss": {
        "score": "grad_score[k] = p[k] - t[k]",
        "p": "p[k] = e^{z[k]} / S\nS = Σ_{j} e^{z[j]}",
        "loss": "loss = -log p[c] = log S - z[c]",
        "derivation": "∂loss/∂z[k] = e^{z[k]} / S - t[k] = p[k] - t[k]",
    },
}
