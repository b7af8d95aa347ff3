//! YAML files -> node spec and desired state, with errors that show line, column and caret.
