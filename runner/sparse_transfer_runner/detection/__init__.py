"""Objects in pictures, as YOLO's folders and dataset files hold them: found, read and checked."""
