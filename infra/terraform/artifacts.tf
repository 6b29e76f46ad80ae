# Results, logs, files of agents, and payloads above 4 KiB.

locals {
  bucket_name  = coalesce(var.bucket_name, "${local.name}-${local.account_id}-${var.region}")
  bucket_arn   = aws_s3_bucket.artifacts.arn
  attempts_arn = "${local.bucket_arn}/jobs/*/attempts/*"
  jobs_arn     = "${local.bucket_arn}/jobs/*"
  payloads_arn = "${local.bucket_arn}/payloads/*"
}

resource "aws_s3_bucket" "artifacts" {
  #checkov:skip=CKV_AWS_18:Access logs need a second bucket and are billed; CloudTrail data events are the account's decision
  #checkov:skip=CKV_AWS_144:Artifacts can be made again by a retry; replication doubles their price
  #checkov:skip=CKV_AWS_145:Encrypted with keys that S3 manages; a customer key is a dollar a month, a price per request and a permission more for every role
  #checkov:skip=CKV2_AWS_62:Nobody listens; hints come from the records
  bucket        = local.bucket_name
  force_destroy = !var.protect_data
}

resource "aws_s3_bucket_public_access_block" "artifacts" {
  bucket                  = aws_s3_bucket.artifacts.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  versioning_configuration {
    status = "Enabled"
  }
}

# The reconciler deletes the artifacts of a job at the end of its TTL; this is for what it never saw.
resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  rule {
    id     = "expire"
    status = "Enabled"
    filter {}
    expiration {
      days = var.artifact_retention_days
    }
    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_retention_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.artifacts]
}

resource "aws_s3_bucket_policy" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      # What an attempt stored is never replaced, whoever asks. CreateMultipartUpload, UploadPart and
      # UploadPartCopy cannot carry the header and are no object creation; PutObject and
      # CompleteMultipartUpload can and are. CopyObject without the header is refused here with 403, with it
      # S3 answers 501: nothing can be copied below this prefix (S3 user guide, enforce conditional writes).
      {
        Sid       = "AttemptsAreCreatedOnce"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = local.attempts_arn
        Condition = {
          Null = { "s3:if-none-match" = "true" }
          Bool = { "s3:ObjectCreationOperation" = "true" }
        }
      },
    ]
  })

  # A policy that comes while public access is being blocked is refused with a conflict.
  depends_on = [aws_s3_bucket_public_access_block.artifacts]
}
