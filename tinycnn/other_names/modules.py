"""Names that a module does not have: what Keras, PyTorch and scikit-learn call things, and what to use here."""

import difflib
import dis
import sys
from collections.abc import Iterable
from types import FrameType, ModuleType
from typing import Any

from tinycnn.other_names.arguments import UnknownArgumentError
from tinycnn.other_names.words import AUGMENT, for_all

IMPORT_FROM = dis.opmap["IMPORT_FROM"]
CONVOLUTION = "use Conv2d(filters, kernel_size), which infers the channels of its input"
ONLY_IMAGES = "the layers of tinycnn are for images: Conv2d, Dense and their like"
LAYERS = {
    **for_all("Conv1D Conv1d Conv3D Conv3d Embedding LSTM GRU RNN SimpleRNN MultiHeadAttention", ONLY_IMAGES),
    **for_all("Conv2D Convolution2D", CONVOLUTION),
    **for_all("Conv2DTranspose Conv2dTranspose", "use ConvTranspose2d(filters, kernel_size)"),
    **for_all("DepthwiseConv2D", "use Conv2d(filters, groups=channels)"),
    **for_all("SeparableConv2D", "use Conv2d(channels, groups=channels) and Conv2d(filters, 1)"),
    **for_all("Linear LazyLinear", "use Dense(units), which infers the size of its input"),
    **for_all("BatchNormalization BatchNorm1d BatchNorm2d", "use BatchNorm(), which infers the channels"),
    **for_all("LayerNormalization", "use LayerNorm()"),
    **for_all("GroupNormalization InstanceNorm2d", "use GroupNorm(groups)"),
    **for_all("MaxPooling2D MaxPool2D", "use MaxPool2d(kernel_size)"),
    **for_all("AveragePooling2D AvgPool2D", "use AvgPool2d(kernel_size)"),
    **for_all("GlobalAveragePooling2D AdaptiveAvgPool2d", "use GlobalAvgPool2d()"),
    **for_all("GlobalMaxPooling2D AdaptiveMaxPool2d", "use GlobalMaxPool2d()"),
    **for_all("Dropout2d SpatialDropout2D AlphaDropout", "use Dropout(p)"),
    **for_all("ZeroPadding2D ZeroPad2d ConstantPad2d", "use Pad2d(padding)"),
    **for_all("Cropping2D", "use Crop2d(cropping)"),
    **for_all("UpSampling2D UpsamplingNearest2d", "use Upsample(scale)"),
    **for_all("Permute", "use Transpose2d(), which exchanges rows and columns"),
    **for_all("Unflatten", "use Reshape(shape)"),
    **for_all("ReLU6", "use Clip(0, 6)"),
    **for_all("Hardswish", "use HardSwish()"),
    **for_all("Swish", "use SiLU()"),
    **for_all("Activation", "use the layer itself, such as ReLU()"),
    **for_all("Input InputLayer", "pass the shape of one image, Sequential(..., input_shape=(28, 28, 1))"),
    **for_all("Module Model", "derive a class from Layer, or chain layers with Sequential"),
    **for_all("ModuleList", "use a list: a layer finds the layers in its attributes"),
    **for_all("Average Subtract Dot Lambda", "derive a class from Layer"),
    **for_all("RandomFlip RandomRotation RandomZoom RandomCrop", AUGMENT),
    **for_all("CrossEntropyLoss MSELoss L1Loss BCEWithLogitsLoss", "losses are functions of tinycnn.ops"),
}
TRAIN = {
    **for_all("ReduceLROnPlateau", "use ReduceOnPlateau(patience)"),
    **for_all("ProgbarLogger RichProgressBar TQDMProgressBar", "use ProgressBar(), or fit(progress=True)"),
    **for_all("BackupAndRestore", "use Checkpoints(folder), as `checkpoints` of fit"),
    **for_all("LambdaCallback", "derive a class from Callback"),
    **for_all("TerminateOnNaN", "every run ends when a number is no longer finite"),
    **for_all("DataLoader TensorDataset", "pass arrays, or any iterable of batches, to fit"),
    **for_all("fit", "call model.fit(images, labels, epochs=5)"),
}
FIVE = "there are SGD, Adam, AdamW, RMSprop and Muon"
OPTIM = {
    **for_all("Adadelta Adagrad Adamax Nadam NAdam RAdam Lion LBFGS Ftrl", FIVE),
    **for_all("lr_scheduler", "pass a `schedule` to the optimizer, such as optim.cosine(steps)"),
    **for_all("CosineAnnealingLR CosineDecay", "use cosine(steps), as `schedule` of the optimizer"),
    **for_all("StepLR MultiStepLR ExponentialLR", "use step_decay(steps), as `schedule` of the optimizer"),
    **for_all("OneCycleLR", "use one_cycle(steps), as `schedule` of the optimizer"),
    **for_all("LinearLR PolynomialLR PolynomialDecay", "use linear(steps), as `schedule` of the optimizer"),
    **for_all("LambdaLR", "pass a function of the number of the step as `schedule` of the optimizer"),
    **for_all("ReduceLROnPlateau", "use ReduceOnPlateau"),
    **for_all("swa_utils AveragedModel ExponentialMovingAverage", "use Trainer(average_weights=0.999)"),
    **for_all("clip_grad_norm_", "use clip_gradients(parameters, max_norm), or Trainer(clip_norm=1.0)"),
}
CROSS_ENTROPY = "use softmax_cross_entropy(logits, labels)"
OPS = {
    **for_all("cross_entropy CrossEntropyLoss categorical_crossentropy", CROSS_ENTROPY),
    **for_all("sparse_categorical_crossentropy SparseCategoricalCrossentropy CategoricalCrossentropy", CROSS_ENTROPY),
    **for_all("bce binary_cross_entropy binary_crossentropy BCELoss", "use binary_cross_entropy_with_logits"),
    **for_all("BCEWithLogitsLoss BinaryCrossentropy", "use binary_cross_entropy_with_logits"),
    **for_all("mse MSELoss mean_squared_error MeanSquaredError", "use mse_loss"),
    **for_all("mae L1Loss mean_absolute_error MeanAbsoluteError smooth_l1_loss", "use l1_loss"),
    **for_all("linear", "use dense(x, weight, bias)"),
    **for_all("cat", "use concatenate"),
    **for_all("relu6", "use clip(x, 0, 6)"),
    **for_all("interpolate", "use upsample2d"),
    **for_all("adaptive_avg_pool2d", "use layers.GlobalAvgPool2d()"),
    **for_all("matmul", "write x @ weight"),
    **for_all("exp log sum mean max reshape", "it is a method of Tensor"),
}
FOLDER = 'use load("folder") for a folder with one subfolder of pictures per class, or load_pictures(path)'
DATA = {
    **for_all("ImageFolder DatasetFolder image_dataset_from_directory flow_from_directory", FOLDER),
    **for_all("MNIST FashionMNIST mnist fashion_mnist load_digits", 'use load("mnist"), or load("fashion_mnist")'),
    **for_all("CIFAR10 cifar10", 'use load("cifar10")'),
    **for_all("load_data load_dataset fetch_openml", 'use load("auto"), or load with another name or a folder'),
    **for_all("DataLoader TensorDataset BatchSampler", "pass arrays, or any iterable of batches, to fit"),
    **for_all("ImageDataGenerator RandomCrop RandomHorizontalFlip RandomRotation transforms", AUGMENT),
    **for_all("to_categorical get_dummies", "use one_hot(labels, classes); fit takes the numbers of the classes, too"),
    **for_all("load_folder load_images", FOLDER),
    **for_all("load_mnist", 'use load("mnist")'),
    **for_all("random_split train_test_split", "use split_validation, or pass `validation_split=0.1` to fit"),
    **for_all("read_image load_image load_img imread", "use load_picture(path, model)"),
    **for_all("ToTensor Normalize", "pass bytes to fit, which divides by 255; see layers.Normalization"),
}
METRICS = {
    **for_all(
        "accuracy accuracy_score Accuracy SparseCategoricalAccuracy",
        "use model.evaluate(images, labels).accuracy, or (outputs.argmax(axis=1) == labels).mean()",
    ),
    **for_all(
        "f1_score precision_score recall_score precision recall classification_report",
        "use class_scores(confusion_matrix(labels, predicted, classes))",
    ),
    **for_all(
        "roc_auc_score auc log_loss top_k_accuracy top_k_accuracy_score AUC",
        "scikit-learn has it: pass it the labels and probabilities(outputs)",
    ),
}
ONE = "pass one augmentation to fit: Affine shifts, turns, scales and slants at once"
AUGMENTATIONS = {
    **for_all("RandomFlip RandomHorizontalFlip HorizontalFlip Flip RandomCrop", "use FlipAndCrop()"),
    **for_all("RandomRotation RandomAffine RandomZoom RandomTranslation Rotation Shift", "use Affine(rotation=10)"),
    **for_all("ElasticTransform RandomElastic", "use Elastic()"),
    **for_all("Compose Sequential Pipeline", ONE),
    **for_all("Cutout RandomErasing Mixup CutMix ColorJitter RandomBrightness RandomContrast", ONE),
}
MODELS = {
    **for_all(
        "resnet resnet18 resnet50 vgg16 mobilenet_v2 densenet121 ResNet50 VGG16",
        "choose one of NETWORKS for create(name), or build it from layers, as examples/resnet8.py does",
    ),
    **for_all("load_model", "use tinycnn.load(path)"),
    **for_all("names list_models available_models", "they are the keys of tinycnn.models.NETWORKS"),
}
PLOTS = {
    **for_all("plot_history history plot_curves learning_curves", "use curves(history)"),
    **for_all("confusion_matrix plot_confusion_matrix ConfusionMatrixDisplay", "use confusion(counts, class_names)"),
    **for_all("show", "use save(figure, path); a notebook shows a figure that a cell returns"),
}
FACADE = {
    **for_all("nn", "use tinycnn.layers"),
    **for_all("keras", "use tinycnn.Sequential and tinycnn.layers"),
    **for_all("Model Module", "use tinycnn.Sequential, or derive a class from tinycnn.layers.Layer"),
    **for_all("losses", "use the functions of tinycnn.ops, such as softmax_cross_entropy"),
    **for_all("callbacks", "use tinycnn.train"),
    **for_all("optimizers", "use tinycnn.optim"),
    **for_all("dataset datasets preprocessing", "use tinycnn.data"),
    **for_all("nets networks applications", "use tinycnn.models"),
    **for_all("image_dataset_from_directory ImageFolder", "use tinycnn.data.load_pictures(folder)"),
    **for_all("to_categorical", "use tinycnn.data.one_hot(labels, classes)"),
    **for_all("save_model", "use tinycnn.save(model, path)"),
    **for_all("activations", "use tinycnn.layers, such as ReLU(), or tinycnn.ops"),
    **for_all("functional F relu softmax sigmoid tanh", "use tinycnn.ops"),
    **for_all("transforms", "use tinycnn.data.augment"),
    **for_all("utils", "use tinycnn.data, tinycnn.train or tinycnn.plots"),
    **for_all("load_model", "use tinycnn.load(path)"),
    **for_all("from_numpy as_tensor", "use tinycnn.Tensor(array)"),
    **for_all(
        "manual_seed set_random_seed set_seed seed seed_everything random", "pass `seed` to Sequential and to fit"
    ),
    **for_all(
        "zeros ones rand randn arange eye full empty zeros_like ones_like",
        "create the array with NumPy, tinycnn.Tensor(array)",
    ),
    **for_all("loss", "use the functions of tinycnn.ops, such as softmax_cross_entropy"),
    **for_all("optimizer", "use tinycnn.optim, or pass `optimizer` to fit"),
    **for_all("regularizers", "pass `weight_decay` to an optimizer"),
    **for_all("init", "use tinycnn.initializers"),
    **for_all("GradientTape autograd grad", "call loss.backward(), and read the `grad` of a parameter"),
    **for_all("inference_mode enable_grad set_grad_enabled", "use tinycnn.no_grad()"),
    **for_all("compile jit", "leave it out: a step that can be recorded is replayed without Python"),
    **for_all("set_num_threads", "call set_threads(1), from tinycnn.backends.threads"),
    **for_all("predict evaluate summary", "it is a method of a network, such as model.predict(images)"),
    **for_all("device cuda", 'use tinycnn.use_backend("cupy")'),
    **for_all("fit", "call model.fit(images, labels, epochs=5)"),
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


class MissingModules:
    """The last finder of ``sys.meta_path``: it is asked for what no other one has found, and never finds a module.

    ``from tinycnn.callbacks import EarlyStopping`` does not ask the package, whose ``__getattr__`` has the sentence.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raise ModuleNotFoundError with a sentence for a module of another library; return None for all others."""
        package, _, last = name.rpartition(".")
        if package not in MODULES:
            return
        own = {one.lower(): one for one in public_names(sys.modules.get(package))}
        similar = difflib.get_close_matches(name.lower(), MODULES, n=1, cutoff=0.85)
        words = f"did you mean {similar[0]}?" if similar else ""
        if last.lower() in own:
            words = f"write `from {package} import {own[last.lower()]}`"
        words = MODULES[package].get(last) or words or _words_for(package, last)
        if words:
            raise ModuleNotFoundError(f"No module named {name!r}: {words}", name=name)


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


class CallableModule(ModuleType):
    """A module that users of other libraries call, as ``torch.tensor``: the error says what to call."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        kind = self.__name__.rpartition(".")[2].capitalize()
        raise UnknownArgumentError(f"{self.__name__} is a module: use tinycnn.{kind}(array)")


def loss_meant(name: Any) -> str:
    """The loss of tinycnn that a name of Keras or PyTorch stands for; "" if it stands for none."""
    words = OPS.get(name, "") if isinstance(name, str) else ""
    return words.removeprefix("use ").partition("(")[0]
