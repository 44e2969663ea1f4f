"""Files in an object store (s3://, gs://): fetched whole and verified, or uploaded. Knows no model."""
