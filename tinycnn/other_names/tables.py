"""Arguments of Keras and PyTorch: what they are called here, and what to do where there is no such argument."""

from collections.abc import Callable
from typing import Any

from tinycnn.other_names.words import AUGMENT, for_all

# Arguments with the same meaning. Where several are given, it is the first that the class or function has.
SAME = {
    "alpha": "slope",
    "batch_norm_momentum": "momentum",
    "beta_1": "betas",
    "beta_2": "betas",
    "clip_value": "clip_norm",
    "data": "array",
    "degrees": "rotation",
    "clip_grad_norm": "clip_norm",
    "dilation_rate": "dilation",
    "dim": "axis",
    "epsilon": "eps",
    "filename": "path",
    "filepath": "path",
    "gradient": "grad",
    "gradient_clip_val": "clip_norm",
    "image_size": "input_shape",
    "input": "logits",
    "keepdim": "keepdims",
    "kernel_initializer": "initializer",
    "learning_rate": "lr",
    "log_dir": "folder",
    "max_epochs": "epochs",
    "min_lr": "lowest",
    "model_parameters": "parameters",
    "negative_slope": "slope",
    "num_epochs": "epochs",
    "n_classes": "classes",
    "num_classes": "classes",
    "num_groups": "groups",
    "out_channels": "filters",
    "out_features": "units",
    "params": "parameters",
    "pool_size": "kernel_size",
    "rate": "p",
    "restore_best_weights": "restore_best",
    "rho": "alpha",
    "root": "data_dir",
    "rotate": "rotation",
    "rotation_range": "rotation",
    "save_best_only": "best_only",
    "scale_factor": "scale",
    "size": "scale",
    "strides": "stride",
    "target": "labels",
    "target_shape": "shape",
    "translate": "shift",
    "unflattened_size": "shape",
    "use_bias": "bias",
    "width_shift_range": "shift",
    "y_pred": "logits",
    "y_true": "labels",
    "zoom": "scale",
    "zoom_range": "scale",
}
SAME_TOO = {
    "input": "x",
    "schedule": "rate",
    "size": "cropping",
    "min_delta": "threshold",
    "x": "images",
    "y": "labels",
}
OF_ADAM = "pass `optimizer=optim.Adam(model.parameters(), 0.001, {0}=...)`, or another optimizer of tinycnn.optim"
INSTEAD = {  # arguments without a counterpart → what to do
    **{name: OF_ADAM.format(name) for name in ("betas", "eps", "weight_decay")},
    **for_all("activation", "add a layer after it, such as ReLU()"),
    **for_all("in_channels in_features num_features normalized_shape", "leave it out: it is inferred"),
    **for_all("num_channels input_dim", "leave it out: it is inferred"),
    **for_all("input_shape batch_input_shape", "pass `input_shape=(H, W, C)` to Sequential"),
    **for_all("data_format", "leave it out: images are always channels last"),
    **for_all("name", "leave it out: layers are named by class and number"),
    **for_all("layers", "pass the layers without a name, Sequential(a, b), or Sequential(*layers)"),
    **for_all("inplace device affine center axis dim", "leave it out"),
    **for_all("trainable", "call freeze() of the layer when it is in a network"),
    **for_all("padding_mode", "add the layer Pad2d(padding) before it, which pads with zeros"),
    **for_all("kernel_regularizer bias_regularizer", "pass `weight_decay` to the optimizer"),
    **for_all("bias_initializer", "leave it out: a bias starts at 0"),
    **for_all("class_weight", "pass `loss=functools.partial(ops.softmax_cross_entropy, class_weights=[1, 5])`"),
    **for_all("lr learning_rate", "pass `lr` to the optimizer, or to model.fit"),
    **for_all("momentum", "pass `optimizer=optim.SGD(model.parameters(), 0.1, momentum=0.9)`"),
    **for_all("amsgrad foreach fused", "leave it out"),
    **for_all("augment batch_size clip_norm label_smoothing optimizer", "it is a setting of Trainer and of model.fit"),
    **for_all("use_ema ema_momentum", "pass `average_weights=0.999` to fit or to Trainer"),
    **for_all("clipnorm global_clipnorm clipvalue gradient_clip_val", "pass `clip_norm=1.0` to fit or to Trainer"),
    **for_all("dtype", "convert the array first, as in numpy.asarray(values, numpy.float64)"),
    **for_all(
        "retain_graph create_graph",
        "leave it out: backward() frees the graph; run the forward pass again before a second one, and add losses for "
        "the sum of their gradients",
    ),
    **for_all("set_to_none start_dim end_dim", "leave it out"),
    **for_all("reduction", "leave it out: the loss is the mean over the batch"),
    **for_all("from_logits", "leave it out: every cross-entropy here takes logits"),
    **for_all("shuffle", "pass nothing: every epoch has another order, and `seed` determines all of them"),
    **for_all("validation_data", "pass `validation=(images, labels)`"),
    **for_all("verbose", "pass `progress=True`, or `progress=False`, to fit"),
    **for_all("x", "pass `images`"),
    **for_all("y", "pass `labels`"),
    **for_all("save_weights_only save_freq append separator histogram_freq", "leave it out"),
    **for_all("gray grey grayscale greyscale color_mode", "pass `colour`: False for grey, True for colour"),
    **for_all("train", "a data set has both parts, x_train and x_test"),
    **for_all("transform target_transform", AUGMENT),
    **for_all("weights pretrained", "call tinycnn.load(path), or models.trained(), which reads digits"),
    **for_all("include_top", "call model.with_head(classes), which replaces the last layer"),
    **for_all("class_names", "assign them to the network, model.class_names = names"),
    **for_all("cooldown start_from_epoch baseline", "there is nothing like it; derive a class from Callback"),
}
IN_ONE_CALL = {  # the same for functions that only compute, whatever the others say
    "verbose": "leave it out: nothing is printed",
    "batch_size": "leave it out: the batches have a size that fits the memory",
}
LAST_AXIS = "leave it out: the classes are in the last axis"
_Given = tuple[Any, ...]  # the values without a name


def _whole(*values: Any) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _always(given: _Given) -> bool:
    return True


def _begins_with_a_number(given: _Given) -> bool:
    return _whole(given[0]) or isinstance(given[0], list | tuple)


def _two_numbers(given: _Given) -> bool:
    return len(given) > 1 and _whole(*given[:2])


def _number_or_text(given: _Given) -> bool:
    return _two_numbers(given) or (len(given) > 1 and isinstance(given[1], str))


def _three_numbers(given: _Given) -> bool:
    return len(given) > 2 and _whole(*given[:2]) and not isinstance(given[2], str)


def _begins_with_text(given: _Given) -> bool:
    return isinstance(given[0], str)


_CHANNELS = "the channels of the input are inferred: nn.{0} is {1}"
_STRIDE = "; pass stride and padding by name"
_OVER_CLASSES = "it is over the classes: nn.{0}(1) is {0}()"
_ONE_PIXEL = "the result is always one pixel: nn.Adaptive{0}Pool2d(1) is Global{0}Pool2d()"
_PLAIN = "it has no settings, and never changes its input in place"
_PATIENCE = "the first value is `patience`: {0}(3, monitor='validation_loss')"
ORDER: dict[str, tuple[Callable[[_Given], bool], str]] = {  # values in the order of another library → what to do
    "Conv2d": (_three_numbers, _CHANNELS.format("Conv2d(1, 32, 3)", "Conv2d(32, 3)") + _STRIDE),
    "ConvTranspose2d": (
        _three_numbers,
        _CHANNELS.format("ConvTranspose2d(1, 32, 3)", "ConvTranspose2d(32, 3)") + _STRIDE,
    ),
    "Dense": (
        _number_or_text,
        "the size of the input is inferred, and an activation is a layer: nn.Linear(128, 10) is Dense(10), and "
        "Dense(10, 'relu') is Dense(10), ReLU()",
    ),
    "GlobalAvgPool2d": (_begins_with_a_number, _ONE_PIXEL.format("Avg")),
    "GlobalMaxPool2d": (_begins_with_a_number, _ONE_PIXEL.format("Max")),
    "BatchNorm": (_begins_with_a_number, _CHANNELS.format("BatchNorm2d(8)", "BatchNorm()")),
    "LayerNorm": (_begins_with_a_number, _CHANNELS.format("LayerNorm(8)", "LayerNorm()")),
    "GroupNorm": (_two_numbers, _CHANNELS.format("GroupNorm(4, 8)", "GroupNorm(4)")),
    "Flatten": (_always, "the axis of the images always stays: nn.Flatten(1) is Flatten()"),
    "Softmax": (_always, _OVER_CLASSES.format("Softmax")),
    "LogSoftmax": (_always, _OVER_CLASSES.format("LogSoftmax")),
    "Upsample": (lambda given: given[0] is None, "nn.Upsample(None, 2) is Upsample(2)"),
    "ReLU": (_always, _PLAIN),
    "SiLU": (_always, _PLAIN),
    "HardSwish": (_always, _PLAIN),
    "EarlyStopping": (_begins_with_text, _PATIENCE.format("EarlyStopping")),
    "ReduceOnPlateau": (_begins_with_text, _PATIENCE.format("ReduceOnPlateau")),
}
_TRAINER = "Trainer(model, optim.Adam(model.parameters()), batch_size=32)"
EXAMPLES = {  # of calls with what is needed
    "Trainer": f"{_TRAINER}; or call model.fit, which creates one",
    "fit": "fit(images, labels, epochs=5)",
    "epochs": "epochs(images, labels, epochs=5)",
    "confusion_matrix": "confusion_matrix(labels, predicted, 10), with the number of classes",
    "evaluate": "model.evaluate(images, labels)",
    "predict": "model.predict(images)",
    "Dense": "Dense(10), with the number of outputs",
    "Conv2d": "Conv2d(32, 3), with the number of filters and their size",
    "ConvTranspose2d": "ConvTranspose2d(32, 3), with the number of filters and their size",
    "GroupNorm": "GroupNorm(4), with the number of groups",
    "max_pool2d": "max_pool2d(x, kernel_size=2)",
    "avg_pool2d": "avg_pool2d(x, kernel_size=2)",
}
