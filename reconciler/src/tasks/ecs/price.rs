//! What a task on Fargate is estimated to cost.

use backends::settings::{EcsPrices, LIST_PRICES_ARM, LIST_PRICES_X86};
use contract::Price;

/// Stored with the request, so that an attempt keeps the price that it was launched for.
pub(super) type PerHour = Price;

/// "Pricing is per second with a 1-minute minimum" (AWS Fargate pricing).
const LEAST_SECONDS: u64 = 60;
/// GiB of storage that cost nothing.
const FREE_STORAGE_GIB: u64 = 20;
const MILLI: u64 = 1024;

/// The size of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Billed {
    /// 1024 units are one vCPU.
    pub(super) cpu: u32,
    pub(super) memory_mib: u32,
    /// All of it, those that are free included.
    pub(super) storage_gib: u32,
    pub(super) public_ip: bool,
}

/// The prices for a processor, unless the settings name others.
pub(super) fn on_demand(settings: Option<EcsPrices>, arm: bool) -> EcsPrices {
    settings.unwrap_or(if arm { LIST_PRICES_ARM } else { LIST_PRICES_X86 })
}

/// The price of a task of this size.
pub(super) fn price(size: Billed, of: EcsPrices) -> PerHour {
    let vcpu = of.vcpu * u64::from(size.cpu);
    let memory = of.memory_gib * u64::from(size.memory_mib);
    let storage = of.storage_gib * u64::from(size.storage_gib).saturating_sub(FREE_STORAGE_GIB);
    let address = if size.public_ip { of.public_ip } else { 0 };
    let micros_per_hour = (vcpu + memory).div_ceil(MILLI) + storage + address;
    PerHour { micros_per_hour, least_seconds: LEAST_SECONDS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::cost::Usd;

    const SMALLEST: Billed = Billed { cpu: 256, memory_mib: 512, storage_gib: 20, public_ip: false };

    #[test]
    fn the_smallest_minute_costs_what_the_price_list_says() {
        assert_eq!(price(SMALLEST, LIST_PRICES_X86).cost(30_000), Usd(206));
        assert_eq!(price(SMALLEST, LIST_PRICES_ARM).cost(30_000), Usd(165));
        let with_address = Billed { public_ip: true, ..SMALLEST };
        assert_eq!(price(with_address, LIST_PRICES_X86).cost(30_000), Usd(290));
    }

    #[test]
    fn storage_costs_beyond_the_part_that_is_free() {
        let size = Billed { cpu: 1024, memory_mib: 2048, storage_gib: 120, public_ip: false };
        assert_eq!(price(size, LIST_PRICES_X86).micros_per_hour, 40_480 + 2 * 4_445 + 100 * 111);
    }
}
