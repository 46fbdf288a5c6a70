//! The buffers that are free.

/// The buffers that a console was given and that are free: neither being filled nor with the device.
pub(super) struct Pool<B, const N: usize> {
    free: [Option<B>; N],
    /// Bytes that every one of them holds.
    size: usize,
}

impl<B: AsRef<[u8]>, const N: usize> Pool<B, N> {
    pub(super) fn new(buffers: [B; N]) -> Self {
        let size = buffers.iter().map(|buffer| buffer.as_ref().len()).min().unwrap_or(0);
        Self { free: buffers.map(Some), size }
    }

    /// Bytes that every buffer holds.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn take(&mut self) -> Option<B> {
        self.free.iter_mut().find_map(Option::take)
    }

    /// Takes a buffer back. One that there is no place for was never ours, and is dropped.
    pub(super) fn put(&mut self, buffer: B) {
        if buffer.as_ref().len() >= self.size
            && let Some(place) = self.free.iter_mut().find(|place| place.is_none())
        {
            *place = Some(buffer);
        }
    }
}
