//! Whether this machine is one of EC2's, from what its firmware calls itself. Never asks the network: elsewhere the
//! address of EC2's metadata may be anybody's, or make every start wait.

use std::io::Read as _;

/// Files in which a virtual machine says whose it is, and how what they say begins on EC2: the first two on Nitro and
/// bare metal, the last on Xen.
const SIGNS: [(&str, &str); 3] = [
    ("/sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2"),
    ("/sys/devices/virtual/dmi/id/board_vendor", "Amazon EC2"),
    ("/sys/hypervisor/uuid", "ec2"),
];

/// Bytes of a sign that are read.
const SIGN_BYTES: u64 = 64;

/// Whether this is EC2.
pub(super) fn is_here() -> bool {
    has_sign(read)
}

fn has_sign(read: impl Fn(&str) -> Option<String>) -> bool {
    SIGNS.iter().any(|(path, expected)| {
        let text = read(path).unwrap_or_default();
        text.get(..expected.len()).is_some_and(|start| start.eq_ignore_ascii_case(expected))
    })
}

/// The start of a file of the kernel's, which no disk can delay.
fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(SIGN_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: bool) {
        assert_eq!(has_sign(|asked| (asked == path).then(|| text.to_owned())), expected, "{path}: {text}");
    }

    #[test]
    fn ec2_is_known_by_its_firmware() {
        check("/sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2\n", true);
        check("/sys/devices/virtual/dmi/id/board_vendor", "Amazon EC2\n", true);
        check("/sys/hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef\n", true);
        check("/sys/hypervisor/uuid", "EC2E1916-9099-7CAF-FD21-012345ABCDEF\n", true);
        check("/sys/hypervisor/uuid", "45e12aec-dcd1-b213-94ed-012345abcdef\n", false);
        check("/sys/devices/virtual/dmi/id/sys_vendor", "QEMU\n", false);
        check("/sys/devices/virtual/dmi/id/sys_vendor", "", false);
        check("/sys/devices/virtual/dmi/id/product_name", "Amazon EC2\n", false);
    }
}
