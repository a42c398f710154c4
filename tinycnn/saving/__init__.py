"""Files of models and of training states, in the safetensors format.

``model_file`` saves and loads a network, ``state_file`` encodes the state of a run for checkpoints, and
``safetensors_file`` reads both with bounds on size and content.
"""
