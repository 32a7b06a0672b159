//! Frames that carry nothing of a message: windows and settings.

use super::{
    super::frame::{Head, Reason, flag, setting},
    input::refuse,
    link::Link,
};

/// RFC 9113 section 6.9. `is_idle`: the stream has not begun.
///
/// # Errors
/// The connection ends for this reason.
pub fn window_update(stream: u32, increment: u32, is_idle: bool, link: &Link) -> Result<(), Reason> {
    if stream == 0 {
        return match increment {
            0 => Err(Reason::Protocol),
            _ if link.widen(increment) => Ok(()),
            _ => Err(Reason::FlowControl),
        };
    }
    if is_idle {
        return Err(Reason::Protocol);
    }
    // It may have closed before the client could know.
    let Some(channel) = link.channel(stream) else { return Ok(()) };
    if increment == 0 {
        refuse(link, &channel, Reason::Protocol);
    } else if !channel.widen(increment.into()) {
        refuse(link, &channel, Reason::FlowControl);
    }
    Ok(())
}

/// RFC 9113 section 6.5.
///
/// # Errors
/// The connection ends for this reason.
pub fn settings(head: Head, payload: &[u8], link: &Link) -> Result<(), Reason> {
    if head.stream != 0 {
        return Err(Reason::Protocol);
    }
    if head.has(flag::ACK) {
        return if payload.is_empty() { Ok(()) } else { Err(Reason::FrameSize) };
    }
    let (settings, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Reason::FrameSize);
    }
    for &[name_high, name_low, value @ ..] in settings {
        let value = u32::from_be_bytes(value);
        match u16::from_be_bytes([name_high, name_low]) {
            setting::HEADER_TABLE_SIZE => link.set_table_size(value),
            setting::ENABLE_PUSH if value > 1 => return Err(Reason::Protocol),
            setting::INITIAL_WINDOW_SIZE if value > 0x7fff_ffff || !link.set_first_window(value) => {
                return Err(Reason::FlowControl);
            }
            // Ours are of the smallest maximum that there may be.
            setting::MAX_FRAME_SIZE if !(16_384..=0x00ff_ffff).contains(&value) => {
                return Err(Reason::Protocol);
            }
            // Others concern what a client is sent of its own accord, or are unknown.
            _ => {}
        }
    }
    link.acknowledge_settings();
    Ok(())
}
