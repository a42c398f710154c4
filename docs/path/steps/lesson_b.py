"""Lesson B: a number that is used twice. One operation in each line, without a class.

python docs/path/steps/lesson_b.py
"""

x, y = 2.0, 3.0

# Forward: x is used twice, and so is u.
u = x * y
v = u + x
loss = u * v
print("loss", loss)

# Backward: all gradients begin at 0, and each use adds its part.
grad_u = grad_v = grad_x = grad_y = 0.0
# loss = u * v
grad_u += v
grad_v += u
# v = u + x
grad_u += grad_v * 1
grad_x += grad_v * 1
# u = x * y
grad_x += grad_u * y
grad_y += grad_u * x
print("gradients: u", grad_u, "v", grad_v, "x", grad_x, "y", grad_y)

# Measured: raise x by 0.001, and compute the loss again.
raised = x + 0.001
with_x = (raised * y) * (raised * y + raised)
print("measured: x", round((with_x - loss) / 0.001))
