"""Parts that the four packages of this project share. Apps should not import them: they may change at any time.

Besides these modules, the command line uses two members of a `VAE`:

    choice = resolve_choice(vae.manifest, prior, label, temperature, detail)      # choice: once, with all checks
    sampler = vae._sampler(choice, seed)                                          # sampling.Sampler, which trusts it
    sampler.open()                                                                # opens what is needed, or raises
    for chunk in sampler.stream(start, count, grey=True): ...                     # Samples, bounded memory
    vae._graphs.folder, vae._graphs["decoder"]                                    # sessions.Graphs

    arrays      checks images and latents that callers pass in
    blocks      whole aligned blocks of pictures, several at a time
    boundary    turns exceptions into the exit codes of a command
    checks      checks whole numbers
    choice      prior, class, temperature and detail as one resolved value; class words, dimensions, methods
    files       files and folders that are replaced as a whole or not at all
    fitting     files, Pillow images, arrays and lists made into the model's images
    folder      a model folder on disk
    manifest    manifest.json as frozen values
    noise       the noise of the detail stage in NumPy
    philox      the seed contract in NumPy
    prior       the fitted prior in NumPy
    reference   the outputs of latents.onnx in NumPy
    sampling    the samples of a seed and a choice
    saving      pictures written as PNG, WebP, .npy and .npz
    sessions    the graphs of a model, and the only place that opens one
"""
