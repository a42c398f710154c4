"""Attributes that an object does not have, and those that nothing reads: what to use here."""

import functools
from typing import TYPE_CHECKING, Any, ClassVar

from tinycnn.errors import SettingError, shortened
from tinycnn.other_names.arguments import parameters_of
from tinycnn.other_names.words import for_all


class NoEffectError(SettingError, AttributeError):
    """An attribute that was assigned, and that nothing reads."""


HOOKS = {
    **for_all("on_train_begin on_fit_start on_train_start", "on_run_begin"),
    **for_all("on_train_end on_fit_end", "on_run_end"),
    **for_all("on_epoch_start on_train_epoch_start", "on_epoch_begin"),
    **for_all("on_train_epoch_end on_validation_epoch_end on_test_end", "on_epoch_end"),
    **for_all("on_batch_begin on_train_batch_begin on_train_batch_start", "on_step_begin"),
    **for_all("on_batch_end on_train_batch_end", "on_step_end"),
}
COLUMNS = {  # the numbers of an epoch
    **for_all("loss", "train_loss"),
    **for_all("accuracy acc", "train_accuracy"),
    **for_all("val_loss", "validation_loss"),
    **for_all("val_accuracy val_acc", "validation_accuracy"),
    **for_all("lr", "learning_rate"),
}
FREEZE = "call freeze(), or unfreeze(), before the optimizer is created"
STOP = "set trainer.stop_training = True; every hook receives the trainer"
LAYER_NO_EFFECT = {
    **for_all("trainable requires_grad", FREEZE),
    **for_all("stop_training", STOP),
}
LAYER_ATTRIBUTES = {
    **for_all(
        "fit evaluate predict", "a network with this layer in it, `Sequential(layer, input_shape=(28, 28, 1)).fit`"
    ),
    **for_all("requires_grad_", "`freeze()` and `unfreeze()`"),
    **for_all("trainable requires_grad", "`freeze()` and `unfreeze()`, and `frozen`, the opposite"),
    **for_all("weight kernel", '`parameters_by_name["weight"]`'),
    **for_all("bias", '`parameters_by_name["bias"]`'),
    **for_all("gamma beta", '`parameters_by_name["gamma"]` and `parameters_by_name["beta"]`'),
    **for_all("running_mean moving_mean", '`buffers_by_name["running_mean"]`'),
    **for_all("running_var moving_variance", '`buffers_by_name["running_var"]`'),
    **for_all("weights trainable_weights trainable_variables variables", "`parameters()` or `named_parameters()`"),
    **for_all("non_trainable_weights non_trainable_variables buffers", "`named_buffers()`"),
    **for_all("get_weights set_weights", "`state_dict()` and `load_state_dict(state)` of the network"),
    **for_all("count_params", "`sum(p.data.size for p in layer.parameters())`"),
    **for_all("add_weight register_parameter", "`_add_parameter` in `build`"),
    **for_all("add_module register_module", "an attribute: a layer finds the layers in its attributes"),
    **for_all("register_buffer", "`_add_buffer` in `build`"),
    **for_all("get_config", "`settings()`"),
    **for_all("from_config", "`from_settings(settings)`"),
    **for_all("training parameters_by_name buffers_by_name", "`super().__init__()` at the beginning of `__init__`"),
    **for_all("input", "`input_shape`"),
    **for_all("output", "`output_shape`"),
    **for_all("named_modules modules children", "`sublayers()`, or `all_layers()`"),
    **for_all("cuda to", '`tinycnn.use_backend("cupy")` before the network is created'),
}
IN_THE_TRAINER = "`trainer.{0}`: every hook receives the trainer"
CALLBACK_NO_EFFECT = for_all("stop_training should_stop", STOP)
CALLBACK_ATTRIBUTES = {
    **{name: IN_THE_TRAINER.format(name) for name in ("model", "optimizer", "history")},
    **for_all("params", "the attributes of the trainer, which every hook receives"),
    **for_all("stop_training should_stop", IN_THE_TRAINER.format("stop_training")),
}
TRAINER_NO_EFFECT = {
    **for_all("should_stop", "set trainer.stop_training = True"),
    **for_all("lr learning_rate", "set trainer.optimizer.learning_rate"),
    **for_all("max_epochs num_epochs", "pass `epochs` to fit"),
    **for_all("gradient_clip_val clipnorm max_norm", "set trainer.clip_norm"),
    **for_all("augmentation transform", "set trainer.augment"),
}
TRAINER_ATTRIBUTES = {
    **for_all("should_stop", "`stop_training`"),
    **for_all("lr learning_rate", "`optimizer.learning_rate`"),
    **for_all("train", "`fit(images, labels, epochs=5)`"),
    **for_all("evaluate test validate", "`model.evaluate(images, labels)`"),
    **for_all("predict", "`model.predict(images)`"),
    **for_all("save save_checkpoint", "`tinycnn.save(model, path)`, or pass `checkpoints` to fit"),
    **for_all("current_epoch", "`len(history)`"),
    **for_all("global_step", "`optimizer.step_count`"),
    **for_all("callback_metrics logged_metrics", "`history[-1]`"),
}
DATASET_ATTRIBUTES = {
    **for_all("X_train train_images", "`x_train`"),
    **for_all("train_labels", "`y_train`"),
    **for_all("X_test test_images", "`x_test`"),
    **for_all("test_labels", "`y_test`"),
    **for_all("X data images", "`x_train` or `x_test`"),
    **for_all("y target targets labels", "`y_train` or `y_test`"),
    **for_all("train", "`x_train` and `y_train`"),
    **for_all("test", "`x_test` and `y_test`"),
    **for_all("classes target_names", "`class_names`"),
    **for_all("shape", "`input_shape`, or `x_train.shape`"),
    **for_all("x_val y_val x_valid y_valid validation", "data.split_validation, or `validation_split` of fit"),
}
OPTIMIZER_ATTRIBUTES = {
    **for_all("param_groups", "`learning_rate`, which may be assigned, or `ParameterGroups`"),
    **for_all("apply_gradients minimize", "`step()` after `loss.backward()`"),
    **for_all("add_param_group", "`ParameterGroups`"),
}


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
        if instead_of and not hasattr(kind, name) and name not in parameters_of(kind.__init__)[0]:
            raise NoEffectError(f"{kind.__name__}.{name} = {shortened(value)} would have no effect: {instead_of}")
        super().__setattr__(name, value)


@functools.cache
def _of_all_bases(kind: Any, table: str) -> dict[str, str]:
    """The entries of this table of a class and of its bases."""
    return {name: words for base in reversed(kind.__mro__) for name, words in vars(base).get(table, {}).items()}
