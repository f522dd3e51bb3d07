"""Many networks of equal structure, trained as one batched model with the results of one after another.

A small network leaves a processor idle between its kernels. A stack of networks needs the same number of kernels for
all of them: `layers` holds the batched layers, `stack` builds a stack and runs it, `training` trains it, and `probe`
decides by trial which networks qualify. The package knows neither studies nor schedules nor processes.
"""
