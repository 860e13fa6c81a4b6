// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every constant and layout of virtio is what `virtio-bindings` (made from
//! Linux's headers) has.

use core::mem::{offset_of, size_of};
use hv_io::{blk, console, device_id, feature, net, status};
use virtio_bindings::bindings::{
    virtio_blk as b, virtio_config as c, virtio_net as n, virtio_ring as r,
};

macro_rules! same {
    ($($ours:expr => $theirs:expr),* $(,)?) => {$(
        assert_eq!($ours as u64, $theirs as u64, stringify!($ours));
    )*};
}

macro_rules! bits {
    ($($ours:expr => $theirs:expr),* $(,)?) => {$(
        assert_eq!($ours as u64, 1u64 << $theirs, stringify!($ours));
    )*};
}

#[test]
fn devices_and_status() {
    same! {
        // The bindings have no device numbers (virtio 1.2, 5).
        device_id::NET => 1,
        device_id::BLOCK => 2,
        device_id::CONSOLE => 3,
        device_id::ENTROPY => 4,
        status::ACKNOWLEDGE => c::VIRTIO_CONFIG_S_ACKNOWLEDGE,
        status::DRIVER => c::VIRTIO_CONFIG_S_DRIVER,
        status::DRIVER_OK => c::VIRTIO_CONFIG_S_DRIVER_OK,
        status::FEATURES_OK => c::VIRTIO_CONFIG_S_FEATURES_OK,
        status::NEEDS_RESET => c::VIRTIO_CONFIG_S_NEEDS_RESET,
        status::FAILED => c::VIRTIO_CONFIG_S_FAILED,
    }
    bits! {
        feature::RING_INDIRECT_DESC => r::VIRTIO_RING_F_INDIRECT_DESC,
        feature::RING_EVENT_IDX => r::VIRTIO_RING_F_EVENT_IDX,
        feature::VERSION_1 => c::VIRTIO_F_VERSION_1,
        feature::ACCESS_PLATFORM => c::VIRTIO_F_ACCESS_PLATFORM,
        feature::RING_PACKED => c::VIRTIO_F_RING_PACKED,
    }
}

#[test]
fn block() {
    bits! {
        blk::feature::SEG_MAX => b::VIRTIO_BLK_F_SEG_MAX,
        blk::feature::RO => b::VIRTIO_BLK_F_RO,
        blk::feature::BLK_SIZE => b::VIRTIO_BLK_F_BLK_SIZE,
        blk::feature::FLUSH => b::VIRTIO_BLK_F_FLUSH,
        blk::feature::TOPOLOGY => b::VIRTIO_BLK_F_TOPOLOGY,
        blk::feature::MQ => b::VIRTIO_BLK_F_MQ,
        blk::feature::DISCARD => b::VIRTIO_BLK_F_DISCARD,
        blk::feature::WRITE_ZEROES => b::VIRTIO_BLK_F_WRITE_ZEROES,
    }
    same! {
        blk::request::IN => b::VIRTIO_BLK_T_IN,
        blk::request::OUT => b::VIRTIO_BLK_T_OUT,
        blk::request::FLUSH => b::VIRTIO_BLK_T_FLUSH,
        blk::request::GET_ID => b::VIRTIO_BLK_T_GET_ID,
        blk::request::DISCARD => b::VIRTIO_BLK_T_DISCARD,
        blk::request::WRITE_ZEROES => b::VIRTIO_BLK_T_WRITE_ZEROES,
        blk::status::OK => b::VIRTIO_BLK_S_OK,
        blk::status::IOERR => b::VIRTIO_BLK_S_IOERR,
        blk::status::UNSUPP => b::VIRTIO_BLK_S_UNSUPP,
        blk::ID_LEN => b::VIRTIO_BLK_ID_BYTES,
        size_of::<blk::Header>() => size_of::<b::virtio_blk_outhdr>(),
        size_of::<blk::Segment>() => size_of::<b::virtio_blk_discard_write_zeroes>(),
        offset_of!(blk::Header, sector) => offset_of!(b::virtio_blk_outhdr, sector),
        offset_of!(blk::Config, seg_max) => offset_of!(b::virtio_blk_config, seg_max),
        offset_of!(blk::Config, geometry) => offset_of!(b::virtio_blk_config, geometry),
        offset_of!(blk::Config, blk_size) => offset_of!(b::virtio_blk_config, blk_size),
        offset_of!(blk::Config, opt_io_size) => offset_of!(b::virtio_blk_config, opt_io_size),
        offset_of!(blk::Config, writeback) => offset_of!(b::virtio_blk_config, wce),
        offset_of!(blk::Config, num_queues) => offset_of!(b::virtio_blk_config, num_queues),
        offset_of!(blk::Config, max_discard_sectors)
            => offset_of!(b::virtio_blk_config, max_discard_sectors),
        offset_of!(blk::Config, discard_sector_alignment)
            => offset_of!(b::virtio_blk_config, discard_sector_alignment),
        offset_of!(blk::Config, max_write_zeroes_seg)
            => offset_of!(b::virtio_blk_config, max_write_zeroes_seg),
        offset_of!(blk::Config, write_zeroes_may_unmap)
            => offset_of!(b::virtio_blk_config, write_zeroes_may_unmap),
    }
}

#[test]
fn network() {
    bits! {
        net::feature::CSUM => n::VIRTIO_NET_F_CSUM,
        net::feature::GUEST_CSUM => n::VIRTIO_NET_F_GUEST_CSUM,
        net::feature::MTU => n::VIRTIO_NET_F_MTU,
        net::feature::MAC => n::VIRTIO_NET_F_MAC,
        net::feature::GUEST_TSO4 => n::VIRTIO_NET_F_GUEST_TSO4,
        net::feature::GUEST_TSO6 => n::VIRTIO_NET_F_GUEST_TSO6,
        net::feature::GUEST_ECN => n::VIRTIO_NET_F_GUEST_ECN,
        net::feature::GUEST_UFO => n::VIRTIO_NET_F_GUEST_UFO,
        net::feature::HOST_TSO4 => n::VIRTIO_NET_F_HOST_TSO4,
        net::feature::HOST_TSO6 => n::VIRTIO_NET_F_HOST_TSO6,
        net::feature::HOST_ECN => n::VIRTIO_NET_F_HOST_ECN,
        net::feature::HOST_UFO => n::VIRTIO_NET_F_HOST_UFO,
        net::feature::MRG_RXBUF => n::VIRTIO_NET_F_MRG_RXBUF,
        net::feature::STATUS => n::VIRTIO_NET_F_STATUS,
        net::feature::CTRL_VQ => n::VIRTIO_NET_F_CTRL_VQ,
        net::feature::MQ => n::VIRTIO_NET_F_MQ,
    }
    same! {
        net::LINK_UP => n::VIRTIO_NET_S_LINK_UP,
        net::flags::NEEDS_CSUM => n::VIRTIO_NET_HDR_F_NEEDS_CSUM,
        net::flags::DATA_VALID => n::VIRTIO_NET_HDR_F_DATA_VALID,
        net::gso::NONE => n::VIRTIO_NET_HDR_GSO_NONE,
        net::gso::TCPV4 => n::VIRTIO_NET_HDR_GSO_TCPV4,
        net::gso::UDP => n::VIRTIO_NET_HDR_GSO_UDP,
        net::gso::TCPV6 => n::VIRTIO_NET_HDR_GSO_TCPV6,
        net::gso::ECN => n::VIRTIO_NET_HDR_GSO_ECN,
        size_of::<net::Header>() => size_of::<n::virtio_net_hdr_v1>(),
        offset_of!(net::Header, num_buffers) => offset_of!(n::virtio_net_hdr_v1, num_buffers),
        offset_of!(net::Config, status) => offset_of!(n::virtio_net_config, status),
        offset_of!(net::Config, mtu) => offset_of!(n::virtio_net_config, mtu),
    }
    // Linux's virtio_console.h is not part of the bindings (virtio 1.2, 5.3.4).
    same! {
        console::F_SIZE => 1,
        offset_of!(console::Config, max_nr_ports) => 4,
        offset_of!(console::Config, emerg_wr) => 8,
    }
}
