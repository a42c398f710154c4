"""The hints: by the key of a symptom, which mistake it is, and where to look; the last one is what to write."""

from collections.abc import Iterable, Mapping

from tinycnn.exercises.symptoms import BOTH, EITHER

# The first level says which mistake it is, the second where to look. Exercises replace those that they know better.
HINTS: Mapping[str, tuple[str, str]] = {
    "averaged": (
        "there is a mean where a sum belongs, or a second division by the batch.",
        "A number that is used in N places collects the gradients of all N: a sum. Backward divides by N only where "
        "forward takes a mean.",
    ),
    "not averaged": (
        "a factor 1/N is missing: forward takes a mean, so each of its N terms has only 1/N of the effect.",
        "Look for the mean in forward, and divide by the same number in backward, once.",
    ),
    "other count": (
        "it is divided by another number than the mean in forward divides by.",
        "Forward takes the mean over the N images, which are the rows: divide by N, that is len(...), once. mean() and "
        "size of a matrix count its columns too.",
    ),
    "factor": (
        "a constant factor is missing, or is applied twice.",
        "Compare forward and backward: a constant that forward multiplies or divides by appears in the derivative.",
    ),
    "sign": (
        "a minus is missing, or there is one too many.",
        "Write the derivative on paper with its sign. What happens to the output if the input grows a little?",
    ),
    "transposed": (
        "rows and columns are exchanged: a transpose is missing, or stands on the wrong matrix.",
        "Write the shapes below each factor. In a matrix product the inner two must be equal and disappear; the outer "
        "two must be those of the input.",
    ),
    "not transposed": (
        "a reshape stands where a transpose is needed: it has the right shape, but keeps the order of the numbers.",
        "W.T[j, i] is W[i, j]. Which numbers stand in the first row of W.T, and which in the first row of yours?",
    ),
    "not summed": (
        "the input was used several times (for each row, or wherever it was repeated), and the uses are not added up.",
        "Sum over the axes that the input does not have, and over those in which it has length 1 and the result is "
        "longer. Its gradient has the shape of the input, always.",
    ),
    "wrong axis": (
        "it is summed over the wrong axes.",
        "Which axes of grad_y does the input not have? Sum over these; those that the input has remain.",
    ),
    "axis of length 1": (
        "the shapes differ only in an axis of length 1.",
        "keepdims=True keeps an axis that was summed over, with length 1; without it the axis disappears. Which of the "
        "two has the shape of the input?",
    ),
    "order": (
        "the gradient of one input stands in the place of another.",
        "backward returns the gradients in the order in which forward takes its inputs.",
    ),
    "upstream": (
        "the gradient that arrives, grad_y, is not used, as if it were all ones.",
        "backward returns d loss / d input, not d y / d input: every term is multiplied by grad_y.",
    ),
    "input itself": (
        "it is the input itself, and not its gradient.",
        "The gradient is grad_y times the number by which y grows when this input grows by 1.",
    ),
    "all axes": (
        "it is the sum, or the mean, of the whole of grad_y, the same number everywhere.",
        "Which axes of grad_y does the input not have? Sum over these; those that the input has remain.",
    ),
    "upstream alone": (
        "grad_y is passed on unchanged: the derivative of this operation is missing.",
        "Multiply grad_y by how much y changes when the input changes.",
    ),
    "overwritten": (
        "several gradients arrive at the same number, and only one of them is kept.",
        "Add them (+=, or the sum of both) instead of storing the last one.",
    ),
    "zero": (
        "nothing arrives: a gradient stays at its initial zeros, or everything is masked out.",
        "Print grad_y and what you multiply it with, at the index above.",
    ),
    "turned": (
        "it is the transpose of the right product, to which a reshape gave the right shape; a reshape keeps the order.",
        "(a b)ᵀ = bᵀ aᵀ: exchange the two factors, and transpose each. The product then has the order of the input.",
    ),
    "places": (
        "look for an axis that is reversed or in the wrong order, or a reshape in place of a transpose.",
        "Find the number that is expected at the index above in your array. How does its index differ?",
    ),
    "not finite": (
        "there is a division by 0, the logarithm of 0, the root of a negative number, or a number without a value.",
        "Print the values before the division, the logarithm or the root, at the index above.",
    ),
    "none": (
        "a gradient is missing.",
        "backward returns one gradient for each input that forward was given, in the same order.",
    ),
    "too many gradients": (
        "backward returns more gradients than forward has inputs.",
        "One gradient for each input, in the order of the inputs; what backward computes on the way is not returned.",
    ),
    "too many": (
        "forward was called without an optional input, and an input that is not there has no gradient, not even None.",
        "self.inputs holds what forward was given. Return len(self.inputs) gradients: test this length first.",
    ),
    "return": (
        "None stands where a result belongs: a function ends without returning what it computed.",
        "Does yours end with `return`, followed by the result, on every path?",
    ),
    "empty": (
        "an axis has the length 0: a slice such as PH:-PH is empty where PH is 0, because -0 is 0.",
        "Count the end of the slice from the front: PH : PH + H.",
    ),
    "shape": (
        "the gradient of an input always has the shape of that input.",
        "Print the shapes of grad_y and of what you combine it with.",
    ),
    "matrix product": (
        "the shapes do not fit together: a transpose is missing, or an axis is in the wrong place.",
        "Write the shapes below each factor. In a matrix product the inner two must be equal and disappear; the outer "
        "two must be those of the input.",
    ),
    "T of a stack": (
        ".T reverses all axes. With more than two, a matrix product needs only the last two exchanged.",
        "a.swapaxes(-1, -2), or a.mT, exchanges the last two axes and leaves those in front of them.",
    ),
    "truth value": (
        "if, not, and, or and max need one True or False; here they got an array of many.",
        "Compute with the whole array: a comparison such as y > 0 gives an array of True and False, and in a product "
        "they count as 1 and 0. If one number was meant, is a sum missing?",
    ),
    "broadcast": (
        "two arrays are combined number by number, and their shapes do not fit.",
        "Compare the shapes above from the right: each pair of lengths must be equal, or one of them 1. Is each the "
        "array that you meant?",
    ),
    "out of bounds": (
        "an index is too large for its axis: the places of an axis of length n are counted from 0 to n - 1.",
        "Print the index and the shape of the array. Which axis does this index belong to?",
    ),
    "tuple": (
        "a tuple, several values in one, stands where an array belongs. self.inputs is one: it holds a tensor for each "
        "input of forward.",
        "Of the first input, self.inputs[0] is the tensor and self.inputs[0].data the array. What forward stored under "
        "another name is an array already.",
    ),
    "one per row": (
        "one of the two arrays has a single number for each row. NumPy compares shapes from the right, so it takes "
        "them for one number per column.",
        "With an axis of length 1 behind the rows, (N, 1), each number belongs to its row: keepdims=True keeps that "
        "axis in a sum or a maximum.",
    ),
    "IndexError": (
        "an index is larger than what it is applied to.",
        "self.inputs and self.needs_grad have one entry for each input that forward was given; without an optional "
        "input they are shorter. Test len(self.inputs) first.",
    ),
    "too many indices": (
        "the array has fewer axes than the index in this line.",
        "Compare the shapes above with the index. Has the array been reshaped to the axes that you index?",
    ),
    "not an index": (
        "what stands in the square brackets is not an index, or not one for this array.",
        "An index is a number, a slice such as 1:3, an array, or a tuple of these. Print what you index with.",
    ),
    "reshape": (
        "a reshape keeps all numbers: the lengths of the new shape must have the same product as those of the old one.",
        "Compare the two products. If the new shape has fewer numbers, is a sum missing? If it has as many, are its "
        "lengths in the right order?",
    ),
    "axes": (
        "transpose(...) needs one number for each axis, and this array has another number of axes.",
        "a.swapaxes(-1, -2) exchanges the last two axes, whatever stands in front of them.",
    ),
    "AxisError": (
        "an axis is named that the array does not have.",
        "Axes are counted from 0. Has the array been reshaped, or summed over an axis already?",
    ),
    "arguments": (
        "the function that is called in this line cannot work with these arguments.",
        "Compare them with those that it expects: their number, their order and their shapes.",
    ),
    "tensor": (
        "backward computes with arrays, and self.inputs holds tensors.",
        "Read the arrays that forward stored, as self.name; or, of a tensor x, x.data.",
    ),
    "power": ("^ is not a power: in Python it combines bits.", "The square of a is a**2."),
    "error": (
        "Python cannot run this line; the words above say why.",
        "Print the type and the shape of each part of the line.",
    ),
    "SyntaxError": (
        "Python cannot read the file; nothing has been checked yet.",
        "Look at this line and at the end of the one before it: a bracket, a colon, the indentation.",
    ),
    "NameError": (
        "this name is not defined here: it is spelled differently, or is an attribute of self.",
        "What forward stored is read as self.name; forward's own variables are gone in backward.",
    ),
    "np": (
        "this file does not import NumPy: it takes NumPy's functions from the backend, which may also be a GPU.",
        "In a method of a Function, self.backend.xp is NumPy: self.backend.xp.exp(x). In a function with an argument "
        "`backend`, it is backend.xp.",
    ),
    "None": (
        "something in this line is None: an attribute that has no value yet, or what a function without return gave.",
        "Print each part of the line. If an attribute can be None at first, test for it.",
    ),
    "AttributeError": (
        "there is no attribute of this name.",
        "Of self, backward can read only what forward of the same class has assigned. Is it among these, in the same "
        "spelling?",
    ),
    "bool": (
        "these are only 0 and 1 (False and True), as of a comparison: either grad_y is not used, or a product in the "
        "same line was computed before the comparison, which then needs brackets.",
        "backward returns grad_y times the slope, as in grad_y * (a > b); True counts as 1 there and False as 0.",
    ),
    "integers": (
        "these are integers: grad_y, whose numbers have fractions, is not used, or has been rounded.",
        "Is there an astype(int), // or round in your code? The gradient is grad_y times the slope.",
    ),
    "dtype": (
        "a function such as np.zeros, np.where with numbers, or a Python list makes float64.",
        "Give the new array the dtype of an array that comes in: dtype=grad_y.dtype, or .astype(grad_y.dtype).",
    ),
    "in place": (
        "an array that others still need is changed.",
        "Write `a = a + b`, which makes a new array, instead of `a += b`, wherever `a` came from outside.",
    ),
}


def hint(key: str, level: int, special: Mapping[str, tuple[str, str]]) -> str:
    """The hint for a symptom at ``level``, 1 or 2.

    ``special``: the hints of the exercise by symptom; those of the symptom "" are for all others. Of several mistakes
    at once, each has its number.
    """
    between = EITHER if EITHER in key else BOTH
    found = [(special.get(one) or HINTS.get(one) or special[""])[level - 1] for one in key.split(between)]
    if len(found) == 1:
        return found[0]
    begin = f"one of {len(found)} mistakes." if between == EITHER else f"{len(found)} mistakes at once."
    return " ".join([begin, *(f"({i}) {one}" for i, one in enumerate(found, start=1))])


def without_repeats(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts that say more than those before them: a level whose words were all said already is not offered."""
    kept: list[str] = []
    for text in texts:
        if plain(text) not in plain(" ".join(kept)):
            kept.append(text)
    return tuple(kept)


def plain(text: str) -> str:
    """``text`` for a comparison: in small letters, with single spaces, without a stop at its end."""
    return " ".join(text.lower().split()).rstrip(".")
