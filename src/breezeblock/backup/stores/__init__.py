"""Where objects are kept: a folder, S3, Swift. Each implements `contract.ObjectStore`, and knows nothing of what it keeps."""
