"""What was seen: views of the same subjects, the outcomes to predict, and how both are read and prepared."""
