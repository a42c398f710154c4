"""What the names of Keras and PyTorch are called here, for errors about names that do not exist.

The tables lead from a name to the end of the sentence. ``missing_name`` is for names of modules, `NamedArguments` and
``named_arguments`` are for arguments of classes and functions, `NamedAttributes` and `CheckedAttributes` for attributes
of objects.
"""

import difflib
import dis
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar

from tinycnn.errors import SettingError, shortened

IMPORT_FROM = dis.opmap["IMPORT_FROM"]
P = ParamSpec("P")
R = TypeVar("R")


class UnknownArgumentError(SettingError, TypeError):
    """An argument that a class or function does not have."""


class MissingArgumentError(SettingError, TypeError):
    """An argument without which a class or function cannot be called."""


class NoEffectError(SettingError, AttributeError):
    """An attribute that was assigned, and that nothing reads."""


def _for_all(names: str, sentence: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), sentence)


HOOKS = {
    **_for_all("on_train_begin on_fit_start on_train_start", "on_run_begin"),
    **_for_all("on_train_end on_fit_end", "on_run_end"),
    **_for_all("on_epoch_start on_train_epoch_start", "on_epoch_begin"),
    **_for_all("on_train_epoch_end on_validation_epoch_end on_test_end", "on_epoch_end"),
    **_for_all("on_batch_begin on_train_batch_begin on_train_batch_start", "on_step_begin"),
    **_for_all("on_batch_end on_train_batch_end", "on_step_end"),
}
CONVOLUTION = "use Conv2d(filters, kernel_size), which infers the channels of its input"
ONLY_IMAGES = "the layers of tinycnn are for images: Conv2d, Dense and their like"
AUGMENT = "pass `augment` to fit: see tinycnn.data.augment"
LAYERS = {
    **_for_all("Conv1D Conv1d Conv3D Conv3d Embedding LSTM GRU RNN SimpleRNN MultiHeadAttention", ONLY_IMAGES),
    **_for_all("Conv2D Convolution2D", CONVOLUTION),
    **_for_all("Conv2DTranspose Conv2dTranspose", "use ConvTranspose2d(filters, kernel_size)"),
    **_for_all("DepthwiseConv2D", "use Conv2d(filters, groups=channels)"),
    **_for_all("SeparableConv2D", "use Conv2d(channels, groups=channels) and Conv2d(filters, 1)"),
    **_for_all("Linear LazyLinear", "use Dense(units), which infers the size of its input"),
    **_for_all("BatchNormalization BatchNorm1d BatchNorm2d", "use BatchNorm(), which infers the channels"),
    **_for_all("LayerNormalization", "use LayerNorm()"),
    **_for_all("GroupNormalization InstanceNorm2d", "use GroupNorm(groups)"),
    **_for_all("MaxPooling2D MaxPool2D", "use MaxPool2d(kernel_size)"),
    **_for_all("AveragePooling2D AvgPool2D", "use AvgPool2d(kernel_size)"),
    **_for_all("GlobalAveragePooling2D AdaptiveAvgPool2d", "use GlobalAvgPool2d()"),
    **_for_all("GlobalMaxPooling2D AdaptiveMaxPool2d", "use GlobalMaxPool2d()"),
    **_for_all("Dropout2d SpatialDropout2D AlphaDropout", "use Dropout(p)"),
    **_for_all("ZeroPadding2D ZeroPad2d ConstantPad2d", "use Pad2d(padding)"),
    **_for_all("Cropping2D", "use Crop2d(cropping)"),
    **_for_all("UpSampling2D UpsamplingNearest2d", "use Upsample(scale)"),
    **_for_all("Permute", "use Transpose2d(), which exchanges rows and columns"),
    **_for_all("Unflatten", "use Reshape(shape)"),
    **_for_all("ReLU6", "use Clip(0, 6)"),
    **_for_all("Hardswish", "use HardSwish()"),
    **_for_all("Swish", "use SiLU()"),
    **_for_all("Activation", "use the layer itself, such as ReLU()"),
    **_for_all("Input InputLayer", "pass the shape of one image, Sequential(..., input_shape=(28, 28, 1))"),
    **_for_all("Module Model", "derive a class from Layer, or chain layers with Sequential"),
    **_for_all("ModuleList", "use a list: a layer finds the layers in its attributes"),
    **_for_all("Average Subtract Dot Lambda", "derive a class from Layer"),
    **_for_all("RandomFlip RandomRotation RandomZoom RandomCrop", AUGMENT),
    **_for_all("CrossEntropyLoss MSELoss L1Loss BCEWithLogitsLoss", "losses are functions of tinycnn.ops"),
}
TRAIN = {
    **_for_all("ReduceLROnPlateau", "use ReduceOnPlateau(patience)"),
    **_for_all("ProgbarLogger RichProgressBar TQDMProgressBar", "use ProgressBar(), or fit(progress=True)"),
    **_for_all("BackupAndRestore", "use Checkpoints(folder), as `checkpoints` of fit"),
    **_for_all("LambdaCallback", "derive a class from Callback"),
    **_for_all("TerminateOnNaN", "every run ends when a number is no longer finite"),
    **_for_all("DataLoader TensorDataset", "pass arrays, or any iterable of batches, to fit"),
    **_for_all("fit", "call model.fit(images, labels, epochs=5)"),
}
FIVE = "there are SGD, Adam, AdamW, RMSprop and Muon"
OPTIM = {
    **_for_all("Adadelta Adagrad Adamax Nadam NAdam RAdam Lion LBFGS Ftrl", FIVE),
    **_for_all("lr_scheduler", "pass a `schedule` to the optimizer, such as optim.cosine(steps)"),
    **_for_all("CosineAnnealingLR CosineDecay", "use cosine(steps), as `schedule` of the optimizer"),
    **_for_all("StepLR MultiStepLR ExponentialLR", "use step_decay(steps), as `schedule` of the optimizer"),
    **_for_all("OneCycleLR", "use one_cycle(steps), as `schedule` of the optimizer"),
    **_for_all("LinearLR PolynomialLR PolynomialDecay", "use linear(steps), as `schedule` of the optimizer"),
    **_for_all("LambdaLR", "pass a function of the number of the step as `schedule` of the optimizer"),
    **_for_all("ReduceLROnPlateau", "use ReduceOnPlateau"),
    **_for_all("swa_utils AveragedModel ExponentialMovingAverage", "use Trainer(average_weights=0.999)"),
    **_for_all("clip_grad_norm_", "use clip_gradients(parameters, max_norm), or Trainer(clip_norm=1.0)"),
}
CROSS_ENTROPY = "use softmax_cross_entropy(logits, labels)"
OPS = {
    **_for_all("cross_entropy CrossEntropyLoss categorical_crossentropy", CROSS_ENTROPY),
    **_for_all("sparse_categorical_crossentropy SparseCategoricalCrossentropy CategoricalCrossentropy", CROSS_ENTROPY),
    **_for_all("bce binary_cross_entropy binary_crossentropy BCELoss", "use binary_cross_entropy_with_logits"),
    **_for_all("BCEWithLogitsLoss BinaryCrossentropy", "use binary_cross_entropy_with_logits"),
    **_for_all("mse MSELoss mean_squared_error MeanSquaredError", "use mse_loss"),
    **_for_all("mae L1Loss mean_absolute_error MeanAbsoluteError smooth_l1_loss", "use l1_loss"),
    **_for_all("linear", "use dense(x, weight, bias)"),
    **_for_all("cat", "use concatenate"),
    **_for_all("relu6", "use clip(x, 0, 6)"),
    **_for_all("interpolate", "use upsample2d"),
    **_for_all("adaptive_avg_pool2d", "use layers.GlobalAvgPool2d()"),
    **_for_all("matmul", "write x @ weight"),
    **_for_all("exp log sum mean max reshape", "it is a method of Tensor"),
}
FOLDER = 'use load("folder") for a folder with one subfolder of pictures per class, or load_pictures(path)'
DATA = {
    **_for_all("ImageFolder DatasetFolder image_dataset_from_directory flow_from_directory", FOLDER),
    **_for_all("MNIST FashionMNIST mnist fashion_mnist load_digits", 'use load("mnist"), or load("fashion_mnist")'),
    **_for_all("CIFAR10 cifar10", 'use load("cifar10")'),
    **_for_all("load_data load_dataset fetch_openml", 'use load("auto"), or load with another name or a folder'),
    **_for_all("DataLoader TensorDataset BatchSampler", "pass arrays, or any iterable of batches, to fit"),
    **_for_all("ImageDataGenerator RandomCrop RandomHorizontalFlip RandomRotation transforms", AUGMENT),
    **_for_all("to_categorical get_dummies", "use one_hot(labels, classes); fit takes the numbers of the classes, too"),
    **_for_all("load_folder load_images", FOLDER),
    **_for_all("load_mnist", 'use load("mnist")'),
    **_for_all("random_split train_test_split", "use split_validation, or pass `validation_split=0.1` to fit"),
    **_for_all("read_image load_image load_img imread", "use load_picture(path, model)"),
    **_for_all("ToTensor Normalize", "pass bytes to fit, which divides by 255; see layers.Normalization"),
}
METRICS = {
    **_for_all(
        "accuracy accuracy_score Accuracy SparseCategoricalAccuracy",
        "use model.evaluate(images, labels).accuracy, or (outputs.argmax(axis=1) == labels).mean()",
    ),
    **_for_all(
        "f1_score precision_score recall_score precision recall classification_report",
        "use class_scores(confusion_matrix(labels, predicted, classes))",
    ),
    **_for_all(
        "roc_auc_score auc log_loss top_k_accuracy top_k_accuracy_score AUC",
        "scikit-learn has it: pass it the labels and probabilities(outputs)",
    ),
}
ONE = "pass one augmentation to fit: Affine shifts, turns, scales and slants at once"
AUGMENTATIONS = {
    **_for_all("RandomFlip RandomHorizontalFlip HorizontalFlip Flip RandomCrop", "use FlipAndCrop()"),
    **_for_all("RandomRotation RandomAffine RandomZoom RandomTranslation Rotation Shift", "use Affine(rotation=10)"),
    **_for_all("ElasticTransform RandomElastic", "use Elastic()"),
    **_for_all("Compose Sequential Pipeline", ONE),
    **_for_all("Cutout RandomErasing Mixup CutMix ColorJitter RandomBrightness RandomContrast", ONE),
}
MODELS = {
    **_for_all(
        "resnet resnet18 resnet50 vgg16 mobilenet_v2 densenet121 ResNet50 VGG16",
        "choose one of NETWORKS for create(name), or build it from layers, as examples/resnet8.py does",
    ),
    **_for_all("load_model", "use tinycnn.load(path)"),
    **_for_all("names list_models available_models", "they are the keys of tinycnn.models.NETWORKS"),
}
PLOTS = {
    **_for_all("plot_history history plot_curves learning_curves", "use curves(history)"),
    **_for_all("confusion_matrix plot_confusion_matrix ConfusionMatrixDisplay", "use confusion(counts, class_names)"),
    **_for_all("show", "use save(figure, path); a notebook shows a figure that a cell returns"),
}
FACADE = {
    **_for_all("nn", "use tinycnn.layers"),
    **_for_all("keras", "use tinycnn.Sequential and tinycnn.layers"),
    **_for_all("Model Module", "use tinycnn.Sequential, or derive a class from tinycnn.layers.Layer"),
    **_for_all("losses", "use the functions of tinycnn.ops, such as softmax_cross_entropy"),
    **_for_all("callbacks", "use tinycnn.train"),
    **_for_all("optimizers", "use tinycnn.optim"),
    **_for_all("datasets preprocessing", "use tinycnn.data"),
    **_for_all("image_dataset_from_directory ImageFolder", "use tinycnn.data.load_pictures(folder)"),
    **_for_all("to_categorical", "use tinycnn.data.one_hot(labels, classes)"),
    **_for_all("save_model", "use tinycnn.save(model, path)"),
    **_for_all("activations", "use tinycnn.layers, such as ReLU(), or tinycnn.ops"),
    **_for_all("functional F relu softmax sigmoid tanh", "use tinycnn.ops"),
    **_for_all("transforms", "use tinycnn.data.augment"),
    **_for_all("utils", "use tinycnn.data, tinycnn.train or tinycnn.plots"),
    **_for_all("load_model", "use tinycnn.load(path)"),
    **_for_all("from_numpy as_tensor", "use tinycnn.Tensor(array)"),
    **_for_all(
        "manual_seed set_random_seed set_seed seed seed_everything random", "pass `seed` to Sequential and to fit"
    ),
    **_for_all(
        "zeros ones rand randn arange eye full empty zeros_like ones_like",
        "create the array with NumPy, tinycnn.Tensor(array)",
    ),
    **_for_all("loss", "use the functions of tinycnn.ops, such as softmax_cross_entropy"),
    **_for_all("optimizer", "use tinycnn.optim, or pass `optimizer` to fit"),
    **_for_all("regularizers", "pass `weight_decay` to an optimizer"),
    **_for_all("init", "use tinycnn.initializers"),
    **_for_all("GradientTape autograd grad", "call loss.backward(), and read the `grad` of a parameter"),
    **_for_all("inference_mode enable_grad set_grad_enabled", "use tinycnn.no_grad()"),
    **_for_all("compile jit", "leave it out: a step that can be recorded is replayed without Python"),
    **_for_all("set_num_threads", "call set_threads(1), from tinycnn.backends.threads"),
    **_for_all("predict evaluate summary", "it is a method of a network, such as model.predict(images)"),
    **_for_all("device cuda", 'use tinycnn.use_backend("cupy")'),
    **_for_all("fit", "call model.fit(images, labels, epochs=5)"),
}
MODULES = {
    "tinycnn": FACADE,
    "tinycnn.data": DATA,
    "tinycnn.data.augment": AUGMENTATIONS,
    "tinycnn.explain": {},
    "tinycnn.initializers": {},
    "tinycnn.layers": LAYERS,
    "tinycnn.metrics": METRICS,
    "tinycnn.models": MODELS,
    "tinycnn.ops": OPS,
    "tinycnn.optim": OPTIM,
    "tinycnn.plots": PLOTS,
    "tinycnn.train": TRAIN,
    "tinycnn.train.callbacks": TRAIN,
}

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
    **_for_all("activation", "add a layer after it, such as ReLU()"),
    **_for_all("in_channels in_features num_features normalized_shape", "leave it out: it is inferred"),
    **_for_all("num_channels input_dim", "leave it out: it is inferred"),
    **_for_all("input_shape batch_input_shape", "pass `input_shape=(H, W, C)` to Sequential"),
    **_for_all("data_format", "leave it out: images are always channels last"),
    **_for_all("name", "leave it out: layers are named by class and number"),
    **_for_all("layers", "pass the layers without a name, Sequential(a, b), or Sequential(*layers)"),
    **_for_all("inplace device affine center axis dim", "leave it out"),
    **_for_all("trainable", "call freeze() of the layer when it is in a network"),
    **_for_all("padding_mode", "add the layer Pad2d(padding) before it, which pads with zeros"),
    **_for_all("kernel_regularizer bias_regularizer", "pass `weight_decay` to the optimizer"),
    **_for_all("bias_initializer", "leave it out: a bias starts at 0"),
    **_for_all("class_weight", "pass `loss=functools.partial(ops.softmax_cross_entropy, class_weights=[1, 5])`"),
    **_for_all("lr learning_rate", "pass `lr` to the optimizer, or to model.fit"),
    **_for_all("momentum", "pass `optimizer=optim.SGD(model.parameters(), 0.1, momentum=0.9)`"),
    **_for_all("amsgrad foreach fused", "leave it out"),
    **_for_all("augment batch_size clip_norm label_smoothing optimizer", "it is a setting of Trainer and of model.fit"),
    **_for_all("use_ema ema_momentum", "pass `average_weights=0.999` to fit or to Trainer"),
    **_for_all("clipnorm global_clipnorm clipvalue gradient_clip_val", "pass `clip_norm=1.0` to fit or to Trainer"),
    **_for_all("dtype", "convert the array first, as in numpy.asarray(values, numpy.float64)"),
    **_for_all(
        "retain_graph create_graph",
        "leave it out: backward() frees the graph; run the forward pass again before a second one, and add losses for "
        "the sum of their gradients",
    ),
    **_for_all("set_to_none start_dim end_dim", "leave it out"),
    **_for_all("reduction", "leave it out: the loss is the mean over the batch"),
    **_for_all("from_logits", "leave it out: every cross-entropy here takes logits"),
    **_for_all("shuffle", "pass nothing: every epoch has another order, and `seed` determines all of them"),
    **_for_all("validation_data", "pass `validation=(images, labels)`"),
    **_for_all("verbose", "pass `progress=True`, or `progress=False`, to fit"),
    **_for_all("x", "pass `images`"),
    **_for_all("y", "pass `labels`"),
    **_for_all("save_weights_only save_freq append separator histogram_freq", "leave it out"),
    **_for_all("gray grey grayscale greyscale color_mode", "pass `colour`: False for grey, True for colour"),
    **_for_all("train", "a data set has both parts, x_train and x_test"),
    **_for_all("transform target_transform", AUGMENT),
    **_for_all("weights pretrained", "call tinycnn.load(path), or models.trained(), which reads digits"),
    **_for_all("include_top", "call model.with_head(classes), which replaces the last layer"),
    **_for_all("class_names", "assign them to the network, model.class_names = names"),
    **_for_all("cooldown start_from_epoch baseline", "there is nothing like it; derive a class from Callback"),
}
IN_ONE_CALL = {  # the same for functions that only compute, whatever the others say
    "verbose": "leave it out: nothing is printed",
    "batch_size": "leave it out: the batches have a size that fits the memory",
}
LAST_AXIS = "leave it out: the classes are in the last axis"
COLUMNS = {  # the numbers of an epoch
    **_for_all("loss", "train_loss"),
    **_for_all("accuracy acc", "train_accuracy"),
    **_for_all("val_loss", "validation_loss"),
    **_for_all("val_accuracy val_acc", "validation_accuracy"),
    **_for_all("lr", "learning_rate"),
}
FREEZE = "call freeze(), or unfreeze(), before the optimizer is created"
STOP = "set trainer.stop_training = True; every hook receives the trainer"
LAYER_NO_EFFECT = {
    **_for_all("trainable requires_grad", FREEZE),
    **_for_all("stop_training", STOP),
}
LAYER_ATTRIBUTES = {
    **_for_all("requires_grad_", "`freeze()` and `unfreeze()`"),
    **_for_all("trainable requires_grad", "`freeze()` and `unfreeze()`, and `frozen`, the opposite"),
    **_for_all("weight kernel", '`parameters_by_name["weight"]`'),
    **_for_all("bias", '`parameters_by_name["bias"]`'),
    **_for_all("gamma beta", '`parameters_by_name["gamma"]` and `parameters_by_name["beta"]`'),
    **_for_all("running_mean moving_mean", '`buffers_by_name["running_mean"]`'),
    **_for_all("running_var moving_variance", '`buffers_by_name["running_var"]`'),
    **_for_all("weights trainable_weights trainable_variables variables", "`parameters()` or `named_parameters()`"),
    **_for_all("non_trainable_weights non_trainable_variables buffers", "`named_buffers()`"),
    **_for_all("get_weights set_weights", "`state_dict()` and `load_state_dict(state)` of the network"),
    **_for_all("count_params", "`sum(p.data.size for p in layer.parameters())`"),
    **_for_all("add_weight register_parameter", "`_add_parameter` in `build`"),
    **_for_all("add_module register_module", "an attribute: a layer finds the layers in its attributes"),
    **_for_all("register_buffer", "`_add_buffer` in `build`"),
    **_for_all("get_config", "`settings()`"),
    **_for_all("from_config", "`from_settings(settings)`"),
    **_for_all("training parameters_by_name buffers_by_name", "`super().__init__()` at the beginning of `__init__`"),
    **_for_all("input", "`input_shape`"),
    **_for_all("output", "`output_shape`"),
    **_for_all("named_modules modules children", "`sublayers()`, or `all_layers()`"),
    **_for_all("cuda to", '`tinycnn.use_backend("cupy")` before the network is created'),
}
IN_THE_TRAINER = "`trainer.{0}`: every hook receives the trainer"
CALLBACK_NO_EFFECT = _for_all("stop_training should_stop", STOP)
CALLBACK_ATTRIBUTES = {
    **{name: IN_THE_TRAINER.format(name) for name in ("model", "optimizer", "history")},
    **_for_all("params", "the attributes of the trainer, which every hook receives"),
    **_for_all("stop_training should_stop", IN_THE_TRAINER.format("stop_training")),
}
TRAINER_NO_EFFECT = {
    **_for_all("should_stop", "set trainer.stop_training = True"),
    **_for_all("lr learning_rate", "set trainer.optimizer.learning_rate"),
    **_for_all("max_epochs num_epochs", "pass `epochs` to fit"),
    **_for_all("gradient_clip_val clipnorm max_norm", "set trainer.clip_norm"),
    **_for_all("augmentation transform", "set trainer.augment"),
}
TRAINER_ATTRIBUTES = {
    **_for_all("should_stop", "`stop_training`"),
    **_for_all("lr learning_rate", "`optimizer.learning_rate`"),
    **_for_all("train", "`fit(images, labels, epochs=5)`"),
    **_for_all("evaluate test validate", "`model.evaluate(images, labels)`"),
    **_for_all("predict", "`model.predict(images)`"),
    **_for_all("save save_checkpoint", "`tinycnn.save(model, path)`, or pass `checkpoints` to fit"),
    **_for_all("current_epoch", "`len(history)`"),
    **_for_all("global_step", "`optimizer.step_count`"),
    **_for_all("callback_metrics logged_metrics", "`history[-1]`"),
}
DATASET_ATTRIBUTES = {
    **_for_all("X_train train_images", "`x_train`"),
    **_for_all("train_labels", "`y_train`"),
    **_for_all("X_test test_images", "`x_test`"),
    **_for_all("test_labels", "`y_test`"),
    **_for_all("X data images", "`x_train` or `x_test`"),
    **_for_all("y target targets labels", "`y_train` or `y_test`"),
    **_for_all("train", "`x_train` and `y_train`"),
    **_for_all("test", "`x_test` and `y_test`"),
    **_for_all("classes target_names", "`class_names`"),
    **_for_all("shape", "`input_shape`, or `x_train.shape`"),
    **_for_all("x_val y_val x_valid y_valid validation", "data.split_validation, or `validation_split` of fit"),
}
OPTIMIZER_ATTRIBUTES = {
    **_for_all("param_groups", "`learning_rate`, which may be assigned, or `ParameterGroups`"),
    **_for_all("apply_gradients minimize", "`step()` after `loss.backward()`"),
    **_for_all("add_param_group", "`ParameterGroups`"),
}


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
}


def missing_name(module: str, name: str, known: Iterable[str]) -> Exception:
    """The error for ``name``, which the module does not have; to be raised by its ``__getattr__``.

    In ``from module import name``, Python would replace the sentence of an AttributeError by its own. A name of the
    tables, and one that another module has, then becomes an ImportError.
    """
    plain, lower = f"module {module!r} has no attribute {name!r}", {one.lower(): one for one in known}
    words = "" if name.lower() in lower and name not in MODULES[module] else _words_for(module, name)
    if words:
        return (ImportError if _imports(sys._getframe(2)) else AttributeError)(f"{plain}: {words}")
    similar = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.75)
    hint = f"; did you mean {lower[similar[0]]}?" if similar and not name.startswith("_") else ""
    return AttributeError(plain + hint)


def _imports(frame: FrameType) -> bool:
    """Whether the frame asks for an attribute in ``from module import name``: of a package, or of another module."""
    return frame.f_code.co_name == "_handle_fromlist" or frame.f_code.co_code[frame.f_lasti] == IMPORT_FROM


def _words_for(module: str, name: str) -> str:
    """What to use in the place of a missing name: by the table of the module, in a module that has it, by any table."""
    if name in MODULES[module]:
        return MODULES[module][name]
    if name.startswith("_"):
        return ""
    for home in MODULES:
        loaded = sys.modules.get(home)
        if home != module and name in public_names(loaded):
            return f"use {home}.{name}"
    home, words = next(((home, table[name]) for home, table in MODULES.items() if name in table), ("", ""))
    return f"in {home}, {words}" if words.startswith("use ") and "tinycnn." not in words else words


def public_names(module: Any) -> list[str]:
    """The names that a module offers: its ``__all__``, or what it defines; none for None."""
    if module is None:
        return []
    if "__all__" in vars(module):
        return list(module.__all__)
    members = {name: one for name, one in vars(module).items() if not isinstance(one, ModuleType)}
    own = [name for name, one in members.items() if getattr(one, "__module__", None) == module.__name__]
    return [name for name in own if not name.startswith("_")]


class NamedArguments:
    """A base of classes that refuse unknown arguments with a sentence that names the right one."""

    def __new__(cls, *given: Any, **named: Any) -> Self:
        if given or named:  # none of them: perhaps a copy, whose attributes are set later
            check_arguments(cls.__name__, cls.__init__, (cls, *given), named)
        return super().__new__(cls)


class NamedAttributes:
    """A base of classes whose errors about missing attributes say what to use here: ``foreign_attributes``, by name."""

    __slots__ = ()

    foreign_attributes: ClassVar[dict[str, str]] = {}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute that is missing."""
            instead_of = _of_all_bases(type(self), "foreign_attributes").get(name)
            hint = f": use {instead_of}" if instead_of else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")


class CheckedAttributes(NamedAttributes):
    """A base of classes that also refuse to be given attributes that nothing reads: ``ignored_attributes``, by name.

    A class that defines such an attribute, or takes it as an argument, has it.
    """

    ignored_attributes: ClassVar[dict[str, str]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        kind: Any = type(self)
        instead_of = _of_all_bases(kind, "ignored_attributes").get(name)
        if instead_of and not hasattr(kind, name) and name not in _parameters(kind.__init__)[0]:
            raise NoEffectError(f"{kind.__name__}.{name} = {shortened(value)} would have no effect: {instead_of}")
        super().__setattr__(name, value)


@functools.cache
def _of_all_bases(kind: Any, table: str) -> dict[str, str]:
    """The entries of this table of a class and of its bases."""
    return {name: words for base in reversed(kind.__mro__) for name, words in vars(base).get(table, {}).items()}


def named_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which refuses unknown arguments with a sentence that names the right one."""

    @functools.wraps(function)
    def checked(*given: P.args, **named: P.kwargs) -> R:
        check_arguments(function.__name__, function, given, named)
        return function(*given, **named)

    return checked


def explained(function: Callable[P, R], owner: str | None = None) -> Callable[P, R]:
    """The same function; a TypeError about its arguments gets a sentence. A call that works costs nothing more."""

    @functools.wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> R:
        try:
            return function(*given, **named)
        except TypeError as error:
            problem = error
        check_arguments(owner or function.__name__, function, given, named)
        raise problem

    return call


def explain_functions(module: str, names: Iterable[str]) -> None:
    """Make ``explained`` functions of those of a package, where they are defined too, unless they check themselves."""
    package = sys.modules[module]
    for name in names:
        function = getattr(package, name)
        if inspect.isfunction(function) and not hasattr(function, "__wrapped__"):
            better = explained(function)
            for place in (package, sys.modules[function.__module__]):
                setattr(place, name, better)


class CallableModule(ModuleType):
    """A module that users of other libraries call, as ``torch.tensor``: the error says what to call."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        kind = self.__name__.rpartition(".")[2].capitalize()
        raise UnknownArgumentError(f"{self.__name__} is a module: use tinycnn.{kind}(array)")


def check_arguments(owner: str, function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Raise UnknownArgumentError for a name, and for more values without a name, than ``function`` takes.

    Raises MissingArgumentError where other arguments are given without ``parameters``, as to optimizers of Keras.
    """
    names, bound, most, takes_all = _parameters(function)
    unknown = [name for name in named if name not in names]
    twice = [name for name in named if most is not None and name in names[: max(min(len(given), most) - bound, 0)]]
    absent = [name for name in _required(function) if name not in named and name not in names[: len(given) - bound]]
    if unknown and not (takes_all and {SAME.get(unknown[0]), SAME_TOO.get(unknown[0])}.isdisjoint(absent)):
        words = IN_ONE_CALL.get(unknown[0]) if owner in ("evaluate", "predict") else None
        words = LAST_AXIS if "softmax" in owner.lower() and unknown[0] in ("axis", "dim") else words
        raise UnknownArgumentError(f"{owner} has no setting {unknown[0]}: {words or instead(unknown[0], names)}")
    if named and len(given) == bound == 1 and "parameters" in names and "parameters" not in named:
        by_fit = 'pass `optimizer="adam"` and `lr` to fit, which creates the optimizer'
        raise MissingArgumentError(f"{owner} needs `parameters`: {owner}(model.parameters(), ...); or {by_fit}")
    if owner in ORDER and len(given) > bound and ORDER[owner][0](given[bound:]):
        raise UnknownArgumentError(f"{owner}({', '.join(map(repr, given[bound:]))}): {ORDER[owner][1]}")
    if twice:
        call = ", ".join([*map(repr, given[bound:]), *(f"{name}={named[name]!r}" for name in twice)])
        words = ORDER[owner][1] if owner in ORDER else "pass it once"
        raise UnknownArgumentError(f"{owner}({call}) gives `{twice[0]}` twice: {words}")
    if most is not None and len(given) > most:
        rest = (
            f"pass the others by name: {', '.join(names[most - bound :])}"
            if len(names) > most - bound
            else "it has none"
        )
        counts = f"takes at most {most - bound} values without a name, got {len(given) - bound}"
        raise UnknownArgumentError(f"{owner} {counts}: {rest}")
    if absent:
        every = " and ".join(f"`{name}`" for name in absent)
        example = EXAMPLES.get(owner, f"{owner}({', '.join(_required(function))})")
        raise MissingArgumentError(f"{owner} needs {every}: {example}")


def instead(name: str, names: Iterable[str]) -> str:
    """What to do in the place of an unknown argument; ``names`` are those that there are."""
    names = list(names)
    for table in (SAME, SAME_TOO):
        if table.get(name) in names:
            return f"pass `{table[name]}`"
    if name in INSTEAD:
        return INSTEAD[name]
    similar = difflib.get_close_matches(name, names, n=2)
    if similar:
        return f"did you mean {' or '.join(similar)}?"
    return f"choose from {', '.join(names)}" if names else "it has none"


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], int, int | None, bool]:
    """The names of the arguments without ``self``, and whether there is a ``self`` (0 or 1).

    Then, how many arguments may be passed without a name (None: any number), and whether any name is taken.
    """
    if function is object.__init__:
        return (), 1, 1, False
    parameters = list(inspect.signature(function).parameters.values())
    bound, kinds = int(parameters[0].name == "self"), [one.kind for one in parameters]
    names = tuple(one.name for one in parameters[bound:] if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
    most = sum(kind.name in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD") for kind in kinds)
    takes = {kind.name for kind in kinds}
    return names, bound, None if "VAR_POSITIONAL" in takes else most, "VAR_KEYWORD" in takes


@functools.cache
def _required(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments without a default, except ``self``."""
    if function is object.__init__:
        return ()
    parameters = [one for name, one in inspect.signature(function).parameters.items() if name != "self"]
    plain = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return tuple(one.name for one in plain if one.default is one.empty)


def loss_meant(name: Any) -> str:
    """The loss of tinycnn that a name of Keras or PyTorch stands for; "" if it stands for none."""
    words = OPS.get(name, "") if isinstance(name, str) else ""
    return words.removeprefix("use ").partition("(")[0]


def not_a_layer(given: Any, kind: str) -> str:
    """What to do with something that was passed to a network in the place of a layer."""
    if isinstance(given, list | tuple):
        return f": pass the layers without the brackets, {kind}(a, b), or {kind}(*layers)"
    if isinstance(given, type):
        return f": pass an object, {given.__name__}()"
    return ": layers are objects, such as ReLU()" if isinstance(given, str) else ""
