"""A Kubernetes cluster, as executors, deployers and the stack meet it: one connection, plain objects, one set of names.

Objects are what the API takes and gives as JSON (`Manifest`), so that what a golden test compares is what is sent. The
SDK is imported here alone and brings the connection: kubeconfig, credentials, TLS, web sockets.
"""
