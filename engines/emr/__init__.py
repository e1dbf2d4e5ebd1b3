"""The stages on Amazon EMR: one job of EMR Serverless, or one step of EMR on EC2, takes them as orders."""
