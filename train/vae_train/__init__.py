"""Training and evaluating the VAE in PyTorch: `vae-train` and `vae-eval`.

Read in this order, each needs only what stands before it:

    config         every setting, its unit and its reason
    data           Fashion-MNIST as one tensor, checksum first
    model          image to mean and log-variance, latent to logits
    objective      the ELBO in nats
    evaluation     the numbers that are reported, the same for PyTorch and for ONNX Runtime
    checkpoint     all that a stopped run needs to go on
    run_folder     what a run leaves on disk, written and read
    plots          curves and samples as pictures
    progress       what one sees while it trains
    training       the loop
"""
