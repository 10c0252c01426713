"""Training and measuring the VAE in PyTorch: `vae-train`, `vae-detail` and `vae-eval`.

Read in this order; each module needs only those above it:

    config           every setting, its unit and its reason
    data             Fashion-MNIST as tensors, after a check of its SHA-256
    layers           residual blocks, and gradients written with forward operators
    refinement       Newton steps that improve the posterior of an image
    model            the encoder, the decoder and the VAE
    objective        the ELBO in nats
    evaluation       the figures that are reported, for PyTorch and for ONNX Runtime
    prior            a prior that is fitted after training
    plots            curves and samples as pictures
    run_folder       the files of a run
    initial          the weights of a shipped model or of another run, to begin with
    detail.networks  the networks of the detail stage
    checkpoint       everything that stopped training needs to go on
    devices          the device, the threads, and the compiled loss
    launching        how several processes are started, and what each of them prints
    processes        several processes that share the steps of a training
    progress         the progress on standard error
    training         the training loop
    detail.training  the training of the detail stage
    quality          what `vae-eval --quality` measures
"""
