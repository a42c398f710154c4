"""What convolution and pooling share: checks of their windows, and padding that differs between opposite sides."""
