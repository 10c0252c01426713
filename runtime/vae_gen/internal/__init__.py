"""Parts that the four packages of this project share. Apps should not import them: they may change at any time.

Besides these modules, the command line uses two members of a `VAE`:

    choice = resolve_choice(vae.manifest, prior, label, temperature, detail)      # choice: once, with all checks
    sampler = vae._sampler(choice, seed)                                          # sampling.Sampler, which trusts it
    sampler.open()                                                                # opens what is needed, or raises
    for chunk in sampler.stream(start, count, grey=True): ...                     # Samples, bounded memory
    vae._graphs.folder, vae._graphs["decoder"]                                    # model.Graphs

    arrays      checks images and latents that callers pass in
    choice      checks numbers and options that callers pass in; a Choice is the result
    command     turns exceptions into exit codes, checks options and shapes help pages, for all commands
    files       replaces files and folders as a whole or not at all; reads JSON with checks
    fitting     makes the model's images of files, Pillow images, arrays and lists
    hub         models of the Hugging Face Hub
    latents     the outputs of latents.onnx in NumPy
    manifest    manifest.json as frozen values
    model       a model folder on disk, and its graphs; the only place that opens one
    paths       ways through the latent space
    philox      the seed contract in NumPy
    prior       the fitted prior in NumPy
    sampling    computes the samples of a seed and a choice
    saving      writes pictures as PNG, WebP, .npy and .npz
"""
