"""Lesson A: by how much does the loss change? One operation in each line, without a class.

python docs/path/steps/lesson_a.py
"""

x, w, b, t = 3.0, 2.0, 1.0, 5.0

# Forward: from the numbers to the loss.
p = w * x  # the product
s = p + b  # the sum
e = s - t  # the difference
loss = e * e
print("loss", loss)

# Backward: from the loss to the numbers. Each line multiplies by the slope of one operation.
grad_e = 2 * e  # a square
grad_s = grad_e * 1  # a difference
grad_p = grad_s * 1  # a sum: its first number
grad_b = grad_s * 1  # a sum: its second number
grad_w = grad_p * x  # a product: the slope is the other factor
grad_x = grad_p * w
print("gradients: w", grad_w, "x", grad_x, "b", grad_b)

# Measured: raise one number by 0.001, and compute the loss again.
with_w = ((w + 0.001) * x + b - t) ** 2
with_x = (w * (x + 0.001) + b - t) ** 2
with_b = (w * x + (b + 0.001) - t) ** 2
print("measured: w", round((with_w - loss) / 0.001, 1))
print("measured: x", round((with_x - loss) / 0.001, 1))
print("measured: b", round((with_b - loss) / 0.001, 1))
