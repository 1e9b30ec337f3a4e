"""What a run may keep on the disk."""

from pydantic import Field

from aga.config_compositions import Section


class DiskConfig(Section):
    """What stays in the run folder besides results, which always stay."""

    failed_labels: int = Field(
        50,
        ge=0,
        description="Newest failed labels whose files are kept whole; of older ones, as of labels "
        "that succeeded, the logs.",
    )
    log_mb: float = Field(
        20.0, gt=0, description="Size at which log.jsonl is put aside as log.jsonl.1 [MB]."
    )
    logs: int = Field(4, ge=0, description="Number of logs put aside that are kept.")
