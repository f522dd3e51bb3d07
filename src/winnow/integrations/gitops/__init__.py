"""Manifests in a git repository that Argo CD or Flux applies, and the verbs that change them."""
