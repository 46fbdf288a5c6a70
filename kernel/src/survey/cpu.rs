//! The processor: maker, model, features, microcode.

use super::TARGET;
use super::bytes::Quoted;
use crate::arch::cpu;
use alloc::string::String;
use log::info;
use raw_cpuid::CpuId;

pub(super) fn describe() {
    let cpuid = CpuId::new();
    let vendor = cpuid.get_vendor_info();
    let vendor = vendor.as_ref().map_or("", |vendor| vendor.as_str());
    let brand = cpu::brand();
    info!(target: TARGET, "cpu: vendor={} model={}", Quoted(vendor.as_bytes()), Quoted(brand.as_str().as_bytes()));
    if let Some(features) = cpuid.get_feature_info() {
        let (family, model, stepping) = (features.family_id(), features.model_id(), features.stepping_id());
        let threads = features.max_logical_processor_ids();
        info!(target: TARGET, "cpu: family={family:#x} model={model:#x} stepping={stepping} ids_per_package={threads}");
    }
    match cpu::microcode(vendor) {
        Some(revision) => info!(target: TARGET, "cpu: microcode={revision:#x}"),
        None => info!(target: TARGET, "cpu: microcode=unknown"),
    }
    if cpu::is_virtual() {
        info!(target: TARGET, "cpu: hypervisor={}", Quoted(cpu::hypervisor().as_str().as_bytes()));
    }
    info!(target: TARGET, "cpu: features={}", features(&cpuid));
    if let Some(sizes) = cpuid.get_processor_capacity_feature_info() {
        let (physical, linear) = (sizes.physical_address_bits(), sizes.linear_address_bits());
        info!(target: TARGET, "cpu: physical_bits={physical} linear_bits={linear}");
    }
}

/// The names of features that matter to whoever brings a machine up, those that are there.
fn features(cpuid: &CpuId<raw_cpuid::CpuIdReaderNative>) -> String {
    let basic = cpuid.get_feature_info();
    let extended = cpuid.get_extended_feature_info();
    let processor = cpuid.get_extended_processor_and_feature_identifiers();
    let power = cpuid.get_advanced_power_mgmt_info();
    let basic = |has: fn(&raw_cpuid::FeatureInfo) -> bool| basic.as_ref().is_some_and(has);
    let extended = |has: fn(&raw_cpuid::ExtendedFeatures) -> bool| extended.as_ref().is_some_and(has);
    let processor =
        |has: fn(&raw_cpuid::ExtendedProcessorFeatureIdentifiers) -> bool| processor.as_ref().is_some_and(has);
    let names = [
        ("sse3", basic(|it| it.has_sse3())),
        ("ssse3", basic(|it| it.has_ssse3())),
        ("sse4.1", basic(|it| it.has_sse41())),
        ("sse4.2", basic(|it| it.has_sse42())),
        ("popcnt", basic(|it| it.has_popcnt())),
        ("aes", basic(|it| it.has_aesni())),
        ("avx", basic(|it| it.has_avx())),
        ("rdrand", basic(|it| it.has_rdrand())),
        ("x2apic", basic(|it| it.has_x2apic())),
        ("tsc_deadline", basic(|it| it.has_tsc_deadline())),
        ("pcid", basic(|it| it.has_pcid())),
        ("vmx", basic(|it| it.has_vmx())),
        ("mca", basic(|it| it.has_mca())),
        ("smep", extended(|it| it.has_smep())),
        ("smap", extended(|it| it.has_smap())),
        ("avx2", extended(|it| it.has_avx2())),
        ("avx512f", extended(|it| it.has_avx512f())),
        ("rdseed", extended(|it| it.has_rdseed())),
        ("sha", extended(|it| it.has_sha())),
        ("nx", processor(|it| it.has_execute_disable())),
        ("1g_pages", processor(|it| it.has_1gib_pages())),
        ("rdtscp", processor(|it| it.has_rdtscp())),
        ("svm", processor(|it| it.has_svm())),
        ("invariant_tsc", power.as_ref().is_some_and(|it| it.has_invariant_tsc())),
    ];
    let mut out = String::new();
    for (name, _) in names.into_iter().filter(|(_, there)| *there) {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(name);
    }
    out
}
