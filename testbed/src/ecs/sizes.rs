//! Task sizes of Fargate.

/// The combinations of Fargate: CPU units, and the memory in MiB as first, last and step.
// Amazon ECS API reference, RegisterTaskDefinition, parameters `cpu` and `memory`; 256 CPU units take 512,
// 1024 and 2048 MiB only.
const SIZES: [(u32, u32, u32, u32); 6] = [
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16_384, 1024),
    (4096, 8192, 30_720, 1024),
    (8192, 16_384, 61_440, 4096),
    (16_384, 32_768, 122_880, 8192),
];

/// Whether Fargate offers this size.
pub(crate) fn exists(cpu: u32, memory: u32) -> bool {
    if cpu == 256 {
        return matches!(memory, 512 | 1024 | 2048);
    }
    SIZES.iter().any(|(units, first, last, step)| {
        *units == cpu && (*first..=*last).contains(&memory) && (memory - first).is_multiple_of(*step)
    })
}

/// CPU units of `1024`, `1 vCPU` or `.25 vcpu`.
// Amazon ECS API reference, Task, `cpu`: units, or vCPUs as in `1 vCPU` or `1 vcpu`.
pub(crate) fn cpu(text: &str) -> Option<u32> {
    scaled(text, &["vCPU", "vcpu"])
}

/// MiB of `1024`, `1GB` or `1 GB`.
// Amazon ECS API reference, Task, `memory`.
pub(crate) fn memory(text: &str) -> Option<u32> {
    scaled(text, &["GB", "gb"])
}

fn scaled(text: &str, units: &[&str]) -> Option<u32> {
    let Some(number) = units.iter().find_map(|unit| text.strip_suffix(unit)) else {
        return text.parse().ok();
    };
    let value = number.trim().parse::<f64>().ok()? * 1024.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked here")]
    (value.fract() == 0.0 && (0.0..1e9).contains(&value)).then_some(value as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_of_the_documentation() {
        for (c, m) in [(256, 512), (256, 2048), (512, 4096), (1024, 8192), (4096, 30_720), (8192, 20_480)] {
            assert!(exists(c, m), "{c} {m}");
        }
        for (c, m) in [(256, 1536), (256, 4096), (512, 512), (1024, 2500), (8192, 17_408), (300, 512)] {
            assert!(!exists(c, m), "{c} {m}");
        }
    }

    #[test]
    fn sizes_are_read_in_units_and_in_words() {
        assert_eq!((cpu("256"), cpu(".25 vCPU"), cpu("2vcpu")), (Some(256), Some(256), Some(2048)));
        assert_eq!((memory("512"), memory("0.5GB"), memory("2 GB")), (Some(512), Some(512), Some(2048)));
        assert_eq!((cpu("much"), memory("-1 GB"), cpu("0.0001 vCPU")), (None, None, None));
    }
}
